"""What can happen to an attempt, what people and the passing of time ask of a job, and what is written.

`Happening` is the closed union that `decide` answers; `Outcome` is the part of it that the end of
an attempt produces. A `Write` is pure data: the broker compares its fence and applies it.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from treadle.domain.job import After, At, Due, ErrorInfo, HistoryRow, Job, Ref
from treadle.domain.state import Event, Reason, State


class Succeeded(Struct, frozen=True, gc=False, kw_only=True):
    """The handler returned; `result` is JSON, None for no result."""

    result: bytes | None = None
    ran_ms: int = 0
    follow_ups: tuple[Job, ...] = ()


class Failed(Struct, frozen=True, gc=False, kw_only=True):
    """The handler raised, or ran into its time limit.

    `kinds` names the exception's class and its bases, qualified, most derived first.
    `retry_after` is the handler's own wish; `give_up` ends the job without another attempt.
    `again`, and any `retry_after`, say that the handler asked for another attempt itself, so that
    the policy's lists of exceptions do not count.
    """

    error: ErrorInfo
    kinds: tuple[str, ...] = ()
    retry_after: After | At | None = None
    again: bool = False
    give_up: bool = False
    reason: Reason = Reason.EXHAUSTED
    """The word under which the job is listed if this was its last attempt."""
    ran_ms: int = 0


class Snoozed(Struct, frozen=True, gc=False, kw_only=True):
    """The handler wants to be called again later; no attempt is used up."""

    due: After | At
    ran_ms: int = 0


class Cancelled(Struct, frozen=True, gc=False, kw_only=True):
    """The attempt ended because the job was cancelled, or the handler raised Cancel."""

    detail: str = ""
    ran_ms: int = 0


class Interrupted(Struct, frozen=True, gc=False, kw_only=True):
    """The worker hands the job back: drain, pause, no room for it, or a claim nobody heard of."""

    started: bool = True
    delay_ms: int = 0
    """How long nobody shall claim it."""
    ran_ms: int = 0


class Lost(Struct, frozen=True, gc=False, kw_only=True):
    """The lease ended and nobody settled the attempt.

    `ended` tells a death (the session has ended) from a stall (it lives).
    """

    ended: bool = True
    started: bool = True
    detail: str = ""


class Rejected(Struct, frozen=True, gc=False, kw_only=True):
    """The job can never run: its bytes or its arguments do not fit."""

    reason: Reason
    error: ErrorInfo
    ran_ms: int = 0


Outcome = Succeeded | Failed | Snoozed | Cancelled | Interrupted | Lost | Rejected


class Parked(Struct, frozen=True, gc=False, kw_only=True):
    """Nobody here can run it: unknown type, or a record of a newer version."""

    reason: Reason
    detail: str = ""


class Expired(Struct, frozen=True, gc=False, kw_only=True):
    """It was claimed after it was worth running."""


class LookedAt(Struct, frozen=True, gc=False, kw_only=True):
    """A blocked job was looked at: the state of each job it still waits for (None: unknown)."""

    parents: tuple[tuple[Ref, State | None], ...] = ()


class CancelAsked(Struct, frozen=True, gc=False, kw_only=True):
    """Somebody asked to cancel the job."""

    by: str = ""


class RescheduleAsked(Struct, frozen=True, gc=False, kw_only=True):
    """Somebody asked to run a waiting job at another time, or with another body."""

    due: After | At
    job: Job | None = None
    by: str = ""


class RetryAsked(Struct, frozen=True, gc=False, kw_only=True):
    """Somebody asked to run a final job again: a new run."""

    by: str = ""


class DiscardAsked(Struct, frozen=True, gc=False, kw_only=True):
    """Somebody asked to remove a final record."""

    by: str = ""


Happening = (
    Outcome
    | Parked
    | Expired
    | LookedAt
    | CancelAsked
    | RescheduleAsked
    | RetryAsked
    | DiscardAsked
)


class Change(Struct, frozen=True, gc=False, kw_only=True):
    """Replace the head of (queue, id) if its fence is `fence`.

    The broker adds 1 to the fence, clears the cancel flag, sets `finished` if `state` is final,
    keeps `claimed` and `session` as memory of who ran it. `expires` is cleared if `fresh` is set,
    that of a new body if there is one, and left otherwise. A change whose state is not final is
    refused while a cancel request stands.
    """

    queue: str
    id: str
    fence: int
    event: Event
    state: State
    due: Due
    attempt: int
    deaths: int = 0
    stalls: int = 0
    parked: int = 0
    delay_ms: int = 0
    look_ms: int = 0
    reason: str = ""
    history: HistoryRow | None = None
    result: bytes | None = None
    follow_ups: tuple[Job, ...] = ()
    edges: tuple[Ref, ...] | None = None
    """The parents it still waits for; None leaves them."""
    job: Job | None = None
    """A new body (only for a waiting job)."""
    fresh: bool = False
    """Start a new run: result, expiry and cancel are cleared, and the unique key is taken again."""


class CancelRequest(Struct, frozen=True, gc=False, kw_only=True):
    """Set the cancel flag of a running job if its fence is `fence`; the fence does not move."""

    queue: str
    id: str
    fence: int


class Removal(Struct, frozen=True, gc=False, kw_only=True):
    """Remove the final record (queue, id) if its fence is `fence`; remember the id for a while."""

    queue: str
    id: str
    fence: int
    remember_ms: int


Write = Change | CancelRequest | Removal


class RefusalCode(StrEnum):
    """Why nothing was, or shall be, written."""

    ILLEGAL_TRANSITION = "illegal_transition"
    QUEUE_FULL = "queue_full"
    TOO_LARGE = "too_large"
    STORAGE_FULL = "storage_full"
    UNKNOWN_PARENT = "unknown_parent"


class Refused(Struct, frozen=True, gc=False, kw_only=True):
    """Nothing is written; `detail` says why, for people."""

    code: RefusalCode
    detail: str
