"""The state machine of a job, as one table.

Rule: everything that says which state may follow which lives in this file. `decide` picks one of
the targets that the table allows; a property test proves that it never picks another. The
diagram in the documentation is drawn from `TRANSITIONS`.

Six states are stored. What people see (`Shown`) is derived from the head and the broker's time,
so nothing has to be promoted when a delay ends, and all brokers share one rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType


class State(IntEnum):
    """What a broker stores. The numbers are part of every storage format: never renumber."""

    BLOCKED = 0
    WAITING = 1
    RUNNING = 2
    SUCCEEDED = 3
    DEAD = 4
    CANCELLED = 5


class Shown(StrEnum):
    """What people see: a view of a record at one moment."""

    SCHEDULED = "scheduled"
    BLOCKED = "blocked"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"


class Event(StrEnum):
    """Everything that can happen to a job."""

    ENQUEUE = "enqueue"
    CLAIM = "claim"
    SUCCEED = "succeed"
    FAIL = "fail"
    SNOOZE = "snooze"
    INTERRUPT = "interrupt"
    LOSE = "lose"
    REJECT = "reject"
    PARK = "park"
    REQUEST_CANCEL = "request_cancel"
    CANCEL = "cancel"
    EXPIRE = "expire"
    BLOCK = "block"
    UNBLOCK = "unblock"
    RESCHEDULE = "reschedule"
    RETRY = "retry"
    DISCARD = "discard"


FINAL = frozenset({State.SUCCEEDED, State.DEAD, State.CANCELLED})

_ABSENT = None
_END_OR_AGAIN = frozenset({State.WAITING, State.DEAD, State.CANCELLED})

TRANSITIONS: Mapping[tuple[State | None, Event], frozenset[State | None]] = MappingProxyType(
    {
        (_ABSENT, Event.ENQUEUE): frozenset({State.WAITING, State.BLOCKED}),
        (State.WAITING, Event.CLAIM): frozenset({State.RUNNING, State.BLOCKED}),
        (State.WAITING, Event.CANCEL): frozenset({State.CANCELLED}),
        (State.WAITING, Event.RESCHEDULE): frozenset({State.WAITING}),
        (State.BLOCKED, Event.BLOCK): frozenset({State.BLOCKED}),
        (State.BLOCKED, Event.UNBLOCK): frozenset({State.WAITING}),
        (State.BLOCKED, Event.CANCEL): frozenset({State.CANCELLED}),
        (State.RUNNING, Event.SUCCEED): frozenset({State.SUCCEEDED}),
        (State.RUNNING, Event.FAIL): _END_OR_AGAIN,
        (State.RUNNING, Event.SNOOZE): frozenset({State.WAITING, State.CANCELLED}),
        (State.RUNNING, Event.INTERRUPT): _END_OR_AGAIN,
        (State.RUNNING, Event.LOSE): _END_OR_AGAIN,
        (State.RUNNING, Event.REJECT): frozenset({State.DEAD}),
        (State.RUNNING, Event.PARK): _END_OR_AGAIN,
        (State.RUNNING, Event.EXPIRE): frozenset({State.CANCELLED}),
        (State.RUNNING, Event.CANCEL): frozenset({State.CANCELLED}),
        (State.RUNNING, Event.REQUEST_CANCEL): frozenset({State.RUNNING}),
        (State.SUCCEEDED, Event.RETRY): frozenset({State.WAITING}),
        (State.DEAD, Event.RETRY): frozenset({State.WAITING}),
        (State.CANCELLED, Event.RETRY): frozenset({State.WAITING}),
        (State.SUCCEEDED, Event.DISCARD): frozenset({_ABSENT}),
        (State.DEAD, Event.DISCARD): frozenset({_ABSENT}),
        (State.CANCELLED, Event.DISCARD): frozenset({_ABSENT}),
    }
)


class Reason(StrEnum):
    """Why a job is dead or cancelled: one word that can be listed, counted and filtered."""

    EXHAUSTED = "exhausted"
    GIVEN_UP = "given_up"
    BAD_ARGUMENTS = "bad_arguments"
    UNDECODABLE = "undecodable"
    BAD_ENVELOPE = "bad_envelope"
    UNSUPPORTED_VERSION = "unsupported_version"
    UNKNOWN_TYPE = "unknown_type"
    QUARANTINED = "quarantined"
    LOST = "lost"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    PARENT = "parent"


_ALWAYS_SHOWN: Mapping[State, Shown] = MappingProxyType(
    {
        State.BLOCKED: Shown.BLOCKED,
        State.RUNNING: Shown.RUNNING,
        State.SUCCEEDED: Shown.SUCCEEDED,
        State.DEAD: Shown.DEAD,
        State.CANCELLED: Shown.CANCELLED,
    }
)


def shown(state: State, *, due: int, attempt: int, now: int) -> Shown:
    """Name the state as people see it at the moment `now` (broker time, ms)."""
    fixed = _ALWAYS_SHOWN.get(state)
    if fixed is not None:
        return fixed
    if due <= now:
        return Shown.QUEUED
    return Shown.RETRYING if attempt > 0 else Shown.SCHEDULED
