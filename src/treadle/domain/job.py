"""The record of a job: an immutable body, a head that changes, and the rows of its history.

All instants are broker time in integer milliseconds since the Unix epoch, all durations integer
milliseconds. Nothing here knows a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum

from msgspec import Struct, field

from treadle.domain.retry import Exponential, RetryPolicy
from treadle.domain.state import State
from treadle.domain.unique import Unique

NEVER = 2**53 - 1
"""An instant that never comes; the largest integer that every store and JSON keep exactly."""

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class Priority(IntEnum):
    """Strict order inside a queue: a lower number always goes first."""

    CRITICAL = 0
    HIGH = 1
    MEDIUM = 2
    LOW = 3


class OnCrash(StrEnum):
    """What a crash during an attempt does to the job."""

    RETRY = "retry"
    """Run it again (at least once)."""
    DEAD = "dead"
    """Never run it a second time once it started (at most once)."""


class After(Struct, frozen=True, gc=False, tag="after"):
    """A duration from the broker's now, in ms."""

    ms: int


class At(Struct, frozen=True, gc=False, tag="at"):
    """An instant of broker time, in ms."""

    ms: int


class Keep(Struct, frozen=True, gc=False, tag="keep"):
    """Leave the time index where it is."""


Due = After | At | Keep
NOW = After(0)
KEEP = Keep()


class Ref(Struct, frozen=True, gc=False, order=True, array_like=True):
    """The identity of a job."""

    queue: str
    id: str


class Policy(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What shall happen to a job when its attempts end: data that travels with the job."""

    max_attempts: int = 4
    retry: RetryPolicy = Exponential()
    retry_on: tuple[str, ...] = ()
    """Qualified exception names; when given, any other exception gives up."""
    give_up_on: tuple[str, ...] = ()
    timeout_ms: int = 0
    """Time limit of one attempt; 0 = none."""
    on_crash: OnCrash = OnCrash.RETRY
    retention_ms: int | None = HOUR_MS
    """How long a succeeded or cancelled record is kept; None = for ever."""
    dead_retention_ms: int | None = 30 * DAY_MS
    remember_ms: int = 10 * 60_000
    """How long after its end the id is remembered, also when the record is purged."""


DEFAULT_POLICY = Policy()


class Job(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One unit of work as it was enqueued: the immutable body of a record.

    `payload` is a JSON object as bytes. `due` says when it may first be claimed, `expires` when
    it is no longer worth running, `after` names the jobs that must be final before.
    """

    id: str
    type: str
    payload: bytes = b"{}"
    queue: str = "default"
    priority: Priority = Priority.MEDIUM
    policy: Policy = DEFAULT_POLICY
    due: After | At = NOW
    expires: After | At | None = None
    unique: Unique | None = None
    key: str = ""
    """Concurrency key; "" = none."""
    after: tuple[Ref, ...] = ()
    run_anyway: bool = False
    """Run also when a job of `after` ended dead or cancelled."""
    meta: Mapping[str, str] = field(default_factory=dict[str, str])
    """Small text fields that travel with the job: trace context, tags."""


class Head(Struct, frozen=True, gc=False, kw_only=True):
    """What changes: the part of a record that brokers compare and replace."""

    state: State
    fence: int
    due: int
    attempt: int = 0
    deaths: int = 0
    stalls: int = 0
    parked: int = 0
    """When it was first parked since it last ran; 0 = not parked."""
    delay_ms: int = 0
    """The delay of the last retry, which decorrelated jitter looks at."""
    look_ms: int = 0
    """The delay before the last look at it while it was blocked; the next one is twice that."""
    expires: int = 0
    cancel: bool = False
    """A cancel was requested while it runs."""
    reason: str = ""
    claimed: int = 0
    finished: int = 0
    session: str = ""
    """The session that runs it, or ran it last."""
    blocked_on: str = ""
    """The concurrency key it waits for; "" = it waits for other jobs, or is not blocked."""


class ErrorInfo(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What is kept of an exception: safe text, never an object."""

    type: str
    message: str = ""
    traceback: str = ""


class HistoryRow(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One line of a job's history: how an attempt ended, or what an operator did.

    Attempts are named by the fence of their claim, so that a writer whose reply was lost finds
    out that the write was its own.
    """

    event: str
    fence: int
    attempt: int = 0
    at: int = 0
    claimed: int = 0
    ran_ms: int = 0
    session: str = ""
    reason: str = ""
    error: ErrorInfo | None = None
    by: str = ""
    """Who asked for it, for what an operator did."""
    before: str = ""
    """The state that it was in, as people see it, for what an operator did."""
    after: str = ""
    """The state that it came to."""


class FaultCode(StrEnum):
    """What is wrong with stored bytes."""

    UNDECODABLE = "undecodable"
    BAD_ENVELOPE = "bad_envelope"
    UNSUPPORTED_VERSION = "unsupported_version"


class Fault(Struct, frozen=True, gc=False, kw_only=True):
    """A record whose body cannot be read: bad data is data."""

    code: FaultCode
    detail: str
    raw: bytes = b""
    """The bytes as found, at most 4 KiB of them."""


class Record(Struct, frozen=True, gc=False, kw_only=True):
    """A job as the broker holds it.

    `claim` fills job and head; `overdue` leaves the payload empty; `find` leaves payload, result
    and history empty; `get` fills everything. If `fault` is set, the body could not be read:
    `job` then holds only what the broker knows without it. `forgotten` marks the memory of a
    purged record: id, state and fence are true, nothing else is known.
    """

    job: Job
    head: Head
    created: int
    result: bytes | None = None
    history: tuple[HistoryRow, ...] = ()
    edges: tuple[Ref, ...] = ()
    """The jobs of `job.after` that it still waits for (filled by `overdue` and `get`)."""
    fault: Fault | None = None
    lost: bool = False
    """Handed out by `claim` although another session may have run it: the core decides Lost."""
    session_ended: bool = True
    """For `overdue` and lost records: the session that ran it has ended."""
    forgotten: bool = False

    @property
    def ref(self) -> Ref:
        """Return the identity of the job."""
        return Ref(self.job.queue, self.job.id)
