"""One slot of a worker: what it runs, how that is stopped from outside, and how it ends then."""

from __future__ import annotations

from enum import Enum
from typing import assert_never

import anyio

from treadle.broker.base import Lease
from treadle.domain.job import ErrorInfo, Record
from treadle.domain.outcome import Cancelled, Failed, Interrupted, Lost, Outcome
from treadle.domain.state import Reason
from treadle.runtime.attempt import Attempt


class Stop(Enum):
    """Why an attempt was stopped from outside."""

    TIMEOUT = "timeout"
    CANCEL = "cancel"
    DRAIN = "drain"
    LOST = "lost"


class Slot:
    """One consumer: the record that it runs now, if any, and the scope that can stop it."""

    __slots__ = (
        "attempt",
        "deadline",
        "lease",
        "record",
        "scope",
        "started",
        "stop_reason",
        "stopped",
        "stuck",
        "task",
    )

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.attempt: Attempt | None = None
        self.record: Record | None = None
        self.lease: Lease | None = None
        """What it runs now or ran last."""
        self.task = 0
        """The id of the task that it is."""
        self.started = 0.0
        self.deadline = 0.0
        self.stop_reason: Stop | None = None
        self.stopped = 0.0
        self.stuck = False

    def stop(self, reason: Stop, now: float) -> None:
        """Stop the attempt that runs; the first reason counts."""
        if self.stop_reason is not None or self.attempt is None:
            return
        self.stop_reason = reason
        self.stopped = now
        if self.record is not None:
            lost = reason is Stop.LOST
            self.attempt.stopped = Lost() if lost else stopped_outcome(reason, self.record)
        self.attempt.stop()
        self.scope.cancel()


def stopped_outcome(reason: Stop, record: Record) -> Outcome:
    """Name the outcome of an attempt that ended because it was stopped."""
    match reason:
        case Stop.TIMEOUT:
            return timed_out(record)
        case Stop.CANCEL:
            return Cancelled()
        case Stop.DRAIN | Stop.LOST:
            return Interrupted()
        case _:
            assert_never(reason)


def timed_out(record: Record) -> Failed:
    """Return the outcome of an attempt that ran into its time limit."""
    limit = record.job.policy.timeout_ms / 1000
    message = f"job {record.job.id} ran longer than its time limit of {limit:g} s"
    kinds = ("builtins.TimeoutError", "builtins.OSError", "builtins.Exception")
    return Failed(
        error=ErrorInfo(type="TimeoutError", message=message), kinds=kinds, reason=Reason.TIMEOUT
    )
