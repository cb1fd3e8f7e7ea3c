"""What goes into and comes out of a broker's operations: values, without behaviour.

All instants are broker time in ms; results stand in the order of what was asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from treadle.domain.job import Record
from treadle.domain.outcome import Refused
from treadle.domain.state import Shown


class Capability(StrEnum):
    """Extras of a broker. Never semantics: those are the same on all."""

    PUSH = "push"
    """A waiting claim wakes at once, without polling."""
    FUSED = "fused"
    """`turn` is one round trip."""
    DURABLE = "durable"
    """Jobs survive the process that holds the broker."""
    SHARED = "shared"
    """Several processes can use the same store."""
    TRANSACTIONAL_ENQUEUE = "transactional_enqueue"
    """A job can be enqueued inside the user's own database transaction."""


class Durability(StrEnum):
    """What an acknowledged write survives, weakest first."""

    NONE = "none"
    PROCESS = "process"
    POWER_LOSS = "power-loss"
    NODE_LOSS = "node-loss"


class Applied(Struct, frozen=True, gc=False, kw_only=True):
    """The write happened. `fence` is the fence that stands now.

    `children` says that blocked jobs wait for this one, which is now final: `overdue` will hand
    them out at once.
    """

    fence: int
    children: bool = False


class Duplicate(Struct, frozen=True, gc=False, kw_only=True):
    """Not stored: this record has the same id, or holds the unique key."""

    record: Record


class Conflict(Struct, frozen=True, gc=False, kw_only=True):
    """Not written: the fence differs, or a cancel request stands. `record` is what stands now.

    `record` is complete with its history, so that a writer whose reply was lost finds its own
    row there; None if there is no such job.
    """

    record: Record | None


class Lease(Struct, frozen=True, gc=False, array_like=True):
    """The right of a session to one attempt: the job and the fence of its claim."""

    queue: str
    id: str
    fence: int


class Opened(Struct, frozen=True, kw_only=True):
    """A session began. `inherited` are the records that the earlier one of that name still ran."""

    now: int
    session: str
    inherited: tuple[Record, ...] = ()


class Enqueued(Struct, frozen=True, kw_only=True):
    """What became of each job that was to be enqueued."""

    now: int
    results: Sequence[Applied | Duplicate | Refused]


class Claimed(Struct, frozen=True, gc=False, kw_only=True):
    """The records that were claimed, in the order in which they shall run."""

    now: int
    records: Sequence[Record]


class Settled(Struct, frozen=True, gc=False, kw_only=True):
    """What became of each write."""

    now: int
    results: Sequence[Applied | Conflict | Duplicate]


class Turned(Struct, frozen=True, gc=False, kw_only=True):
    """What became of each write, and what was claimed after them."""

    now: int
    results: Sequence[Applied | Conflict | Duplicate]
    records: Sequence[Record]


class Pulse(Struct, frozen=True, kw_only=True):
    """What a heartbeat found out.

    `lost`: leases of `held` that are no longer this session's. `orphans`: records that the
    store holds for the session and that were not in `held`. `cancels`: leases of `held` whose
    job shall be cancelled.
    """

    now: int
    lost: tuple[Lease, ...] = ()
    orphans: tuple[Record, ...] = ()
    cancels: tuple[Lease, ...] = ()


class Step(Struct, frozen=True, kw_only=True):
    """The result of a named step of a handler: written once, kept over attempts and retries."""

    lease: Lease
    name: str
    data: bytes


class Progress(Struct, frozen=True, kw_only=True):
    """How far an attempt is: the last value counts."""

    lease: Lease
    data: bytes


class LogLine(Struct, frozen=True, kw_only=True):
    """A line that a handler logs; at most 1,000 are kept per job, the oldest go first."""

    lease: Lease
    at: int
    text: str


Note = Step | Progress | LogLine


class Noted(Struct, frozen=True, kw_only=True):
    """The note was written; for a step that existed, `existing` is what was written first."""

    existing: bytes | None = None


class Notes(Struct, frozen=True, kw_only=True):
    """What handlers noted about a job: (attempt's claim fence, ms, text) a log line."""

    progress: bytes | None = None
    log: tuple[tuple[int, int, str], ...] = ()
    steps: tuple[tuple[str, bytes], ...] = ()


class Overdue(Struct, frozen=True, kw_only=True):
    """Records that somebody must decide about now (see `Broker.overdue`)."""

    now: int
    records: tuple[Record, ...]


class Filter(Struct, frozen=True, kw_only=True):
    """Which jobs to list; None and "" match everything."""

    queue: str | None = None
    state: Shown | None = None
    type: str | None = None
    reason: str | None = None
    text: str = ""
    """Occurs in id, type, unique key or reason."""
    error: str = ""
    """Occurs in the type or message of the last error."""
    since: int | None = None
    """Created at or after this instant."""
    until: int | None = None
    """Created before this instant."""


class Order(StrEnum):
    """How a listing is ordered."""

    NEWEST = "newest"
    OLDEST = "oldest"


class Page(Struct, frozen=True, kw_only=True):
    """One page of a listing; `cursor` is None at the end, else it continues where this stopped.

    A page may be short, or empty, and still have a cursor: it then examined its limit of records.
    """

    now: int
    records: tuple[Record, ...]
    cursor: str | None = None


class QueueStats(Struct, frozen=True, kw_only=True):
    """Counts of one queue: exact at rest, except `later`."""

    queue: str
    waiting: int = 0
    blocked: int = 0
    running: int = 0
    succeeded: int = 0
    dead: int = 0
    cancelled: int = 0
    later: int = 0
    """How many of `waiting` are not due yet; may be 1 s old."""
    later_is_estimate: bool = False
    paused: bool = False
    oldest_due: int | None = None
    """When the job that waits longest could first have been claimed."""


class Stats(Struct, frozen=True, kw_only=True):
    """Counts of every queue that the broker knows."""

    now: int
    queues: tuple[QueueStats, ...]


class SessionInfo(Struct, frozen=True, kw_only=True):
    """One session: a run of a worker process as the broker knows it."""

    session: str
    name: str
    lease_ms: int
    expires: int
    opened: int
    running: int
    info: bytes = b"{}"
    """What the worker said about itself when it opened the session: a JSON object."""


class Document(Struct, frozen=True, kw_only=True):
    """A small named document; `version` grows with every write."""

    name: str
    version: int
    data: bytes


class LogEvent(Struct, frozen=True, kw_only=True):
    """One entry of the event log: that something happened to a job. A hint, never the truth."""

    cursor: str
    at: int
    event: str
    queue: str
    id: str
    state: str
    """The stored state after it, in lower case; "" if the record is gone."""


class Events(Struct, frozen=True, kw_only=True):
    """Entries after a cursor; `gap` says that older ones were already dropped."""

    cursor: str
    entries: tuple[LogEvent, ...] = ()
    gap: bool = False


class Description(Struct, frozen=True, kw_only=True):
    """What a live broker says about itself, for `doctor`, `config` and the start screen."""

    name: str
    version: str
    durability: Durability
    detail: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
