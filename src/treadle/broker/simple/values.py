"""What stands behind the keys: rows, queues, sessions and the rest, as they are written."""

from __future__ import annotations

from msgspec import Struct, field

from treadle.broker.simple import keys
from treadle.broker.simple.keys import Part
from treadle.domain.head import first
from treadle.domain.job import Head, HistoryRow, Job, Priority, Ref
from treadle.domain.state import State
from treadle.domain.unique import Unique


class Row(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job without its body: what is read and written each time that it moves."""

    ref: Ref
    head: Head
    created: int
    seq: int
    """Its place in the order of creation over all queues."""
    priority: Priority
    remember_ms: int
    key: str = ""
    unique: Unique | None = None
    edges: tuple[Ref, ...] = ()
    """The jobs that it still waits for."""
    turn: int = 0
    """Its place among those who wait for a slot."""
    goes_first: bool = False
    """It was let in when a slot became free: it stands before all others of its priority."""

    @property
    def ref_parts(self) -> tuple[str, str]:
        """Return the identity of the job as the parts of a key."""
        return self.ref.queue, self.ref.id

    @property
    def place(self) -> tuple[Part, ...]:
        """Return the key of its place in the line of its queue, while it waits."""
        due = 0 if self.goes_first else self.head.due
        return keys.LINE, self.ref.queue, int(self.priority), due, self.seq

    @classmethod
    def of(cls, job: Job, now: int, seq: int, fence: int) -> Row:
        """Make the row of a job that is stored now, under its first fence."""
        return cls(
            ref=Ref(job.queue, job.id),
            head=first(job, now, fence),
            created=now,
            seq=seq,
            priority=job.priority,
            remember_ms=job.policy.remember_ms,
            key=job.key,
            unique=job.unique,
            edges=job.after,
        )


class Past(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of a job for those who ask, and never needed to move it."""

    result: bytes | None = None
    history: tuple[HistoryRow, ...] = ()


class Queue(Struct, kw_only=True):
    """A queue; one object in a transaction, which writes it at its end if it was changed."""

    name: str
    counts: list[int] = field(default_factory=lambda: [0] * len(State))
    """By state: the numbers of the states are 0 to 5."""
    paused: bool = False
    limit: int | None = None


class Counters(Struct, kw_only=True):
    """Numbers that only grow."""

    seq: int = 0
    turn: int = 0
    session: int = 0
    document: int = 0
    event: int = 0
    fence: int = 0
    """The highest one of all rows that were removed."""


class TakenKey(Struct, frozen=True):
    """A unique key: who took it, in which states it holds, and until when whatever the state."""

    id: str
    mask: int
    until: int


class Memory(Struct, frozen=True):
    """What is remembered of a removed job."""

    state: State
    fence: int
    until: int
    key: str
    """The unique key that it had taken; "" = none."""


class Session(Struct, frozen=True, kw_only=True):
    """A session of a worker."""

    id: str
    name: str
    lease_ms: int
    expires: int
    opened: int
    info: bytes
    ended: int | None = None
    taken: bool = False

    def is_over(self, now: int) -> bool:
        """Tell whether it has ended or expired."""
        return self.ended is not None or self.expires <= now
