"""What must be stored: records, what is remembered of removed ones, keys, limits and sessions.

These are plain dictionaries without any index. Every question is answered by looking at everything,
so that each rule can be read where it is applied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import Enum

from msgspec import Struct, structs

from treadle.conformance.model.when import When
from treadle.domain.job import Head, HistoryRow, Job, Ref
from treadle.domain.state import FINAL, Event, State
from treadle.domain.unique import held_until, holding_states, holds

LONG_AGO_MS = 3_600_000
"""A session that ended or expired so long ago may be dropped by `purge`."""


class Place(Enum):
    """How a waiting job stands in its line."""

    IMMEDIATE = "immediate"
    """Enqueued to run at once: in the order of enqueueing."""
    TIMER = "timer"
    """By its due time; those within 1 s of each other in any order."""
    RETURNING = "returning"
    """It waits again: anywhere among the claimable."""


class Kept(Struct, kw_only=True, eq=False):
    """A record that must be stored, with its notes."""

    ref: Ref
    job: Job
    head: Head
    created: int
    seq: int
    """Its place in the order of creation."""
    fuzz: int
    """How far the instants of its head may be off; they are taken over when they are seen."""
    place: Place
    changed: int
    """When it was written last, counted in calls."""
    result: bytes | None = None
    history: tuple[HistoryRow, ...] = ()
    edges: tuple[Ref, ...] = ()
    steps: dict[str, bytes] = {}
    progress: bytes | None = None
    lines: list[tuple[int, int, str]] = []
    is_gone: bool = False
    blocked_since: int = 0
    """When it began to wait for a slot."""


class Memory(Struct, frozen=True):
    """What is remembered of a record that was removed."""

    ref: Ref
    state: State
    fence: int
    until: int
    fuzz: int


class HeldKey(Struct, frozen=True, eq=False):
    """A unique key: who took it, in which states it holds, and until when whatever the state."""

    holder: Kept
    mask: int
    until: int
    fuzz: int


class Session(Struct, kw_only=True):
    """A session: it lives until it is closed, taken over, or expired."""

    id: str
    name: str
    lease_ms: int
    expires: int
    opened: int
    fuzz: int
    info: bytes
    ended: int | None = None
    taken: bool = False
    maybe_gone: bool = False

    def is_over(self, when: When) -> bool | None:
        """Tell whether nobody lives behind it any more; None if that is too close to tell."""
        return True if self.ended is not None else when.reached(self.expires, self.fuzz)


class Stock:
    """Everything that a broker must hold at one moment."""

    def __init__(self) -> None:
        self.records: dict[Ref, Kept] = {}
        self.memories: dict[Ref, Memory] = {}
        self.highest: dict[Ref, int] = {}
        """Of each id whose record has gone the highest fence that it ever had."""
        self.keys: dict[tuple[str, str], HeldKey] = {}
        self.sessions: dict[str, Session] = {}
        self.paused: set[str] = set()
        self.key_limits: dict[str, int] = {}
        self.queue_limits: dict[str, int] = {}
        self.happened: list[tuple[str, str, str, str]] = []
        """What the event log must tell: event, queue, id, state."""
        self.calls = 0
        self.is_free = False
        """The last call could have been answered in another way too."""
        self._seq = 0

    # -- looking

    def in_state(self, *states: State) -> Iterator[Kept]:
        """Yield the records in some states."""
        return (kept for kept in self.records.values() if kept.head.state in states)

    def memory(self, ref: Ref, when: When) -> tuple[Memory | None, bool]:
        """Return what is remembered of an id, and whether that is certain."""
        memory = self.memories.get(ref)
        over = True if memory is None else when.reached(memory.until, memory.fuzz)
        return (None, True) if over else (memory, over is False)

    def key_holder(self, job: Job, when: When, besides: Ref | None) -> tuple[Ref | None, bool]:
        """Return which other job holds the unique key of `job`, and whether that is certain."""
        key = None if job.unique is None else self.keys.get((job.queue, job.unique.key))
        if key is None or key.holder.ref == besides:
            return None, True
        state = None if key.holder.is_gone else key.holder.head.state
        early = holds(key.mask, key.until - key.fuzz, state, when.high)
        late = holds(key.mask, key.until + key.fuzz, state, when.low)
        if early != late:
            when.doubts.append(key.until)
        return (key.holder.ref, early) if early or late else (None, True)

    def running(self) -> Counter[str]:
        """Count the running jobs of each concurrency key."""
        return Counter(kept.job.key for kept in self.in_state(State.RUNNING))

    def waiters(self, key: str) -> list[Kept]:
        """Return the jobs that wait for a slot of a key, those that have waited longest first."""
        waiting = [kept for kept in self.in_state(State.BLOCKED) if kept.head.blocked_on == key]
        return sorted(waiting, key=lambda kept: kept.blocked_since)

    def children(self, parent: Ref) -> list[Kept]:
        """Return the blocked jobs that wait for another one."""
        return [kept for kept in self.in_state(State.BLOCKED) if parent in kept.edges]

    def held_by(self, session: str) -> list[Kept]:
        """Return what a session runs."""
        return [k for k in self.in_state(State.RUNNING) if k.head.session == session]

    # -- writing

    def insert(self, job: Job, head: Head, when: When) -> Kept:
        """Store a job; it takes its unique key."""
        ref = Ref(job.queue, job.id)
        self._seq += 1
        is_immediate = getattr(job.due, "ms", None) == 0
        kept = Kept(
            ref=ref,
            job=job,
            head=head,
            created=when.low,
            seq=self._seq,
            fuzz=when.fuzz,
            place=Place.IMMEDIATE if is_immediate else Place.TIMER,
            changed=self.calls,
            edges=job.after,
        )
        self.memories.pop(ref, None)
        self.records[ref] = kept
        self.take_key(kept, when)
        self.tell(Event.ENQUEUE, kept)
        return kept

    def move(self, kept: Kept, head: Head, event: Event, when: When) -> None:
        """Replace the head of a record."""
        if head.state is State.WAITING:
            is_moved = event is Event.RESCHEDULE
            kept.place = Place.TIMER if is_moved else Place.RETURNING
        elif head.blocked_on:
            kept.blocked_since = when.low
        kept.head, kept.changed = head, self.calls
        kept.fuzz = max(kept.fuzz, when.fuzz)
        self.tell(event, kept)

    def remove(self, kept: Kept, until: int, when: When) -> None:
        """Drop a record; its id is remembered, as long as its key holds at least."""
        key = (
            None
            if kept.job.unique is None
            else self.keys.get((kept.ref.queue, kept.job.unique.key))
        )
        if key is not None and key.holder is kept:
            until = max(until, key.until)
        del self.records[kept.ref]
        kept.is_gone = True
        self.highest[kept.ref] = kept.head.fence
        self.memories[kept.ref] = Memory(
            kept.ref, kept.head.state, kept.head.fence, until, kept.fuzz + when.fuzz
        )

    def take_key(self, kept: Kept, when: When) -> None:
        """Let a record hold the unique key of its job."""
        unique = kept.job.unique
        if unique is not None:
            key = HeldKey(kept, holding_states(unique), held_until(unique, when.low), when.fuzz)
            self.keys[kept.ref.queue, unique.key] = key

    def drop_key(self, kept: Kept) -> None:
        """Release the unique key of a record, if it is the one who took it."""
        self.keys = {name: key for name, key in self.keys.items() if key.holder is not kept}

    def put_due(self, kept: Kept, when: When) -> None:
        """Have a blocked record looked at now."""
        kept.head, kept.changed = structs.replace(kept.head, due=when.low), self.calls
        kept.fuzz = max(kept.fuzz, when.fuzz)

    def tell(self, event: Event, kept: Kept, *, gone: bool = False) -> None:
        """Note what the event log must tell."""
        state = "" if gone else kept.head.state.name.lower()
        self.happened.append((event.value, kept.ref.queue, kept.ref.id, state))


def is_final(kept: Kept | None) -> bool:
    """Tell whether a job will not move by itself any more; one that is gone will not either."""
    return kept is None or kept.head.state in FINAL
