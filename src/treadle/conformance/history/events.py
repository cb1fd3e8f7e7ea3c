"""What a history consists of: calls, what they asked, and what they were told.

A call begins at one position of the history and ends at a later one, or never. Positions only say
what came before what; instants (`now`, `due`, `claimed` ...) are broker time in ms. All of it is
small plain data: a history can be written to a file, merged with those of other processes, printed,
and written by hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Final
from zlib import crc32

from msgspec import Struct

from treadle.domain.job import After, At, Job, Keep, Record
from treadle.domain.outcome import CancelRequest, Change, Removal, Write
from treadle.domain.state import State
from treadle.domain.unique import Scope

Key = tuple[str, str]
"""Queue and id of a job."""

NEVER_ENDED: Final = math.inf


class How(StrEnum):
    """How a call ended."""

    OK = "ok"
    FAIL = "fail"
    """It had no effect."""
    UNKNOWN = "unknown"
    """It may have had its effect, or have it later."""


class Sent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job as it was sent."""

    queue: str = "default"
    id: str
    priority: int = 2
    delay_ms: int = 0
    at: int | None = None
    """When it may first be claimed, if it was sent with an instant."""
    unique: str = ""
    scope: Scope = Scope.FINAL
    period_ms: int = 0
    slot: str = ""
    """Its concurrency key."""
    after: tuple[Key, ...] = ()
    max_attempts: int = 4
    retention_ms: int | None = 3_600_000
    dead_retention_ms: int | None = 30 * 86_400_000
    remember_ms: int = 600_000
    body: int = 0
    """A checksum of type and payload; 0 = not taken."""

    @property
    def key(self) -> Key:
        """Return its identity."""
        return self.queue, self.id

    @property
    def is_immediate(self) -> bool:
        """Tell whether it may be claimed as soon as it is stored."""
        return not self.delay_ms and self.at is None and not self.after


class Seen(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record as an answer showed it."""

    queue: str = "default"
    id: str
    state: State
    fence: int
    attempt: int = 0
    due: int | None = None
    claimed: int = 0
    finished: int = 0
    session: str = ""
    slot: str = ""
    cancel: bool = False
    blocked_on: str = ""
    lost: bool = False
    session_ended: bool = True
    forgotten: bool = False
    fault: bool = False
    body: int = 0

    @property
    def key(self) -> Key:
        """Return its identity."""
        return self.queue, self.id


class Put(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One write as it was asked for."""

    queue: str = "default"
    id: str
    fence: int
    event: str
    """A change's event, or `cancel_request`, or `removal`."""
    state: State | None = None
    """The new state of a change."""
    attempt: int = 0
    delay_ms: int = 0
    at: int | None = None
    """When it is due, if the change says so by an instant; the delay counts otherwise."""
    keeps_due: bool = False
    fresh: bool = False
    follow_ups: tuple[Sent, ...] = ()
    new_body: Sent | None = None
    remember_ms: int = 0

    @property
    def key(self) -> Key:
        """Return the identity of the job that it changes."""
        return self.queue, self.id

    @property
    def is_change(self) -> bool:
        """Tell whether it moves the fence."""
        return self.state is not None


class Said(StrEnum):
    """What became of one job or one write of a call."""

    DONE = "done"
    KNOWN = "known"
    """Not stored: its id is known."""
    HELD = "held"
    """Not stored or written: another job holds its unique key."""
    REFUSED = "refused"
    """Not stored, for a limit or an unknown parent."""
    CONFLICT = "conflict"
    OWN = "own"
    """A conflict with what may be its own doing: a driver whose answer got lost asked again."""


class Told(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer for one job or one write."""

    said: Said = Said.DONE
    fence: int = 1
    seen: Seen | None = None
    """The record that stands in the way."""


class Step(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A named step that a handler noted."""

    queue: str = "default"
    id: str
    fence: int
    name: str
    data: int
    """A checksum."""


class Open(Struct, frozen=True, tag="open"):
    """A session was to begin; it ends the earlier one of its name."""

    name: str
    lease_ms: int


class Close(Struct, frozen=True, tag="close"):
    """A session was to end."""

    session: str


class Enqueue(Struct, frozen=True, tag="enqueue"):
    """Jobs were to be stored."""

    jobs: tuple[Sent, ...]


class Claim(Struct, frozen=True, tag="claim"):
    """A session asked for jobs."""

    session: str
    queues: tuple[str, ...] = ("default",)


class Apply(Struct, frozen=True, tag="apply"):
    """Writes were to be applied."""

    writes: tuple[Put, ...]


class Turn(Struct, frozen=True, tag="turn"):
    """Writes were to be applied, then a session asked for jobs."""

    session: str
    writes: tuple[Put, ...]
    queues: tuple[str, ...] = ("default",)


class Beat(Struct, frozen=True, tag="beat"):
    """A session was to be renewed, with the leases that it believes to hold."""

    session: str
    held: tuple[tuple[str, str, int], ...] = ()


class Jot(Struct, frozen=True, tag="jot"):
    """Steps were to be written down."""

    session: str
    steps: tuple[Step, ...]


class Look(Struct, frozen=True, tag="look"):
    """A call of `overdue`."""


class Purge(Struct, frozen=True, tag="purge"):
    """What is past its retention was to be dropped."""


class Get(Struct, frozen=True, tag="get"):
    """Records were read by their ids."""

    keys: tuple[Key, ...]


class Find(Struct, frozen=True, tag="find"):
    """Records were listed."""


class Pause(Struct, frozen=True, tag="pause"):
    """A queue was to be paused or resumed."""

    queue: str
    paused: bool = True


class Limit(Struct, frozen=True, tag="limit"):
    """The limit of a concurrency key was to be set or lifted."""

    slot: str
    running: int | None


class Scan(Struct, frozen=True, tag="scan"):
    """Everything that the store holds, read while nothing else happens."""


class Run(Struct, frozen=True, tag="run"):
    """A handler began to run; the call ends when the handler does."""

    queue: str
    id: str
    fence: int


What = (
    Open
    | Close
    | Enqueue
    | Claim
    | Apply
    | Turn
    | Beat
    | Jot
    | Look
    | Purge
    | Get
    | Find
    | Pause
    | Limit
    | Scan
    | Run
)


class Answer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a call was told; which fields are filled depends on what was asked."""

    now: int | None = None
    session: str = ""
    records: tuple[Seen, ...] = ()
    """Claimed, inherited, orphaned, overdue, found or scanned ones."""
    told: tuple[Told, ...] = ()
    """One for each job or write."""
    got: tuple[Seen | None, ...] = ()
    """One for each key of a `Get`."""
    lost: tuple[tuple[str, str, int], ...] = ()
    """Leases that a heartbeat named lost."""
    steps: tuple[int | None, ...] = ()
    """For each step the checksum of what was there before."""
    counts: dict[str, tuple[int, ...]] = {}
    """By queue how many jobs are in each stored state, as `stats` says at a scan."""


NOTHING: Final = Answer()


class Call(Struct, kw_only=True, omit_defaults=True):
    """One call of one client."""

    number: int
    client: str
    begun: int
    what: What
    ended: float = NEVER_ENDED
    how: How = How.UNKNOWN
    answer: Answer = NOTHING
    error: str = ""

    def __str__(self) -> str:
        ended = "never" if self.ended == NEVER_ENDED else f"{self.ended:.0f}"
        told = self.error or str(self.answer)
        return f"#{self.number} {self.client} [{self.begun}, {ended}] {self.what} -> {self.how}: {told}"


def sent(job: Job) -> Sent:
    """Reduce a job to what the laws ask about."""
    due, unique, policy = job.due, job.unique, job.policy
    return Sent(
        queue=job.queue,
        id=job.id,
        priority=int(job.priority),
        delay_ms=due.ms if isinstance(due, After) else 0,
        at=due.ms if isinstance(due, At) else None,
        unique="" if unique is None else unique.key,
        scope=Scope.FINAL if unique is None else unique.scope,
        period_ms=0 if unique is None else unique.period_ms,
        slot=job.key,
        after=tuple((ref.queue, ref.id) for ref in job.after),
        max_attempts=policy.max_attempts,
        retention_ms=policy.retention_ms,
        dead_retention_ms=policy.dead_retention_ms,
        remember_ms=policy.remember_ms,
        body=_checksum(job),
    )


def seen(record: Record, *, whole: bool = False) -> Seen:
    """Reduce a record to what the laws ask about; `whole` says that it came with its payload."""
    job, head = record.job, record.head
    readable = whole and record.fault is None and not record.forgotten
    return Seen(
        queue=job.queue,
        id=job.id,
        state=head.state,
        fence=head.fence,
        attempt=head.attempt,
        due=head.due,
        claimed=head.claimed,
        finished=head.finished,
        session=head.session,
        slot=job.key,
        cancel=head.cancel,
        blocked_on=head.blocked_on,
        lost=record.lost,
        session_ended=record.session_ended,
        forgotten=record.forgotten,
        fault=record.fault is not None,
        body=_checksum(job) if readable else 0,
    )


def put(write: Write) -> Put:
    """Reduce a write to what the laws ask about."""
    match write:
        case Change(due=due):
            return Put(
                queue=write.queue,
                id=write.id,
                fence=write.fence,
                event=write.event.value,
                state=write.state,
                attempt=write.attempt,
                delay_ms=due.ms if isinstance(due, After) else 0,
                at=due.ms if isinstance(due, At) else None,
                keeps_due=isinstance(due, Keep),
                fresh=write.fresh,
                follow_ups=tuple(sent(job) for job in write.follow_ups),
                new_body=None if write.job is None else sent(write.job),
            )
        case CancelRequest():
            return Put(queue=write.queue, id=write.id, fence=write.fence, event="cancel_request")
        case Removal(remember_ms=remember_ms):
            return Put(
                queue=write.queue,
                id=write.id,
                fence=write.fence,
                event="removal",
                remember_ms=remember_ms,
            )


def seen_all(records: Sequence[Record], *, whole: bool = False) -> tuple[Seen, ...]:
    """Reduce records."""
    return tuple(seen(record, whole=whole) for record in records)


def checksum(data: bytes) -> int:
    """Return a number that tells different bytes apart, and is never 0."""
    return crc32(data) or 1


def _checksum(job: Job) -> int:
    return crc32(job.payload, crc32(job.type.encode())) or 1
