"""The store: every operation of the protocol as one step under one lock, without waiting.

Brokers on any loop in any thread share it. A call that finds nothing leaves a bell in the same
step, and whoever brings something rings it; that is all there is to waiting.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from threading import Lock

from treadle.broker.base import Clock
from treadle.broker.memory import listing, writes
from treadle.broker.memory.control import Documents
from treadle.broker.memory.notebook import Notebook
from treadle.broker.memory.records import complete, listed, standing, undecided
from treadle.broker.memory.sleepers import Bell, Sleepers
from treadle.broker.memory.table import Table
from treadle.broker.values import (
    Applied,
    Claimed,
    Conflict,
    Document,
    Duplicate,
    Enqueued,
    Events,
    Filter,
    Lease,
    Note,
    Noted,
    Notes,
    Opened,
    Order,
    Overdue,
    Page,
    Pulse,
    QueueStats,
    SessionInfo,
    Settled,
    Stats,
    Turned,
)
from treadle.domain.job import Job, Record, Ref
from treadle.domain.outcome import Write
from treadle.domain.state import State


class Store:
    """All jobs of one memory broker and its twins; safe to use from any thread."""

    def __init__(self, clock: Clock, max_record: int) -> None:
        self._lock = Lock()
        self._clock = clock
        self._most_bytes = max_record // 2
        self._table = Table()
        self._documents = Documents()
        self._readers = Sleepers()
        """Readers of the event log that wait."""

    def open(self, name: str, lease_ms: int, info: bytes) -> Opened:
        with self._lock:
            now = self._clock.time_ms()
            session, rows = self._table.sessions.open(name, lease_ms, info, now)
            inherited = tuple(undecided(row) for row in rows)
            self._table.claims.wake_all()
            return Opened(now=now, session=session.id, inherited=inherited)

    def close(self, session: str) -> None:
        with self._lock:
            self._table.sessions.close(session, self._clock.time_ms())
            self._table.claims.wake_all()

    def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        with self._lock:
            now = self._clock.time_ms()
            results = writes.store(self._table, jobs, now, self._most_bytes)
            self._tell_readers()
            return Enqueued(now=now, results=results)

    def claim(
        self, session: str, queues: Sequence[str], limit: int, bell: Bell | None = None
    ) -> tuple[Claimed, int | None]:
        """Claim; if there was nothing, leave the bell and tell when the next timer is due."""
        with self._lock:
            now = self._clock.time_ms()
            records = self._claim(session, queues, limit, now)
            if records or bell is None:
                return Claimed(now=now, records=records), None
            self._table.claims.add(bell)
            return Claimed(now=now, records=records), self._table.next_due(queues)

    def leave(self, bell: Bell) -> None:
        """Forget a bell that nobody waits for any more."""
        with self._lock:
            self._table.claims.remove(bell)
            self._readers.remove(bell)

    def apply(self, changes: Sequence[Write]) -> Settled:
        with self._lock:
            now = self._clock.time_ms()
            return Settled(now=now, results=self._apply(changes, now))

    def turn(
        self, session: str, changes: Sequence[Write], queues: Sequence[str], limit: int
    ) -> Turned:
        with self._lock:
            now = self._clock.time_ms()
            results = self._apply(changes, now)
            records = self._claim(session, queues, limit, now)
            return Turned(now=now, results=results, records=records)

    def heartbeat(self, session: str, held: Sequence[Lease]) -> Pulse:
        with self._lock:
            now = self._clock.time_ms()
            living = self._table.sessions.get(session)
            living.expires = now + living.lease_ms
            lost: list[Lease] = []
            cancels: list[Lease] = []
            kept: set[int] = set()
            for lease in held:
                row = self._table.row(lease.queue, lease.id)
                if row is None or row.seq not in living.held or row.head.fence != lease.fence:
                    lost.append(lease)
                    continue
                kept.add(row.seq)
                if row.head.cancel:
                    cancels.append(lease)
            orphans = tuple(undecided(row) for seq, row in living.held.items() if seq not in kept)
            return Pulse(now=now, lost=tuple(lost), orphans=orphans, cancels=tuple(cancels))

    def note(self, session: str, items: Sequence[Note]) -> list[Noted | Conflict]:
        with self._lock:
            return [self._note(session, item, self._clock.time_ms()) for item in items]

    def overdue(self, limit: int) -> Overdue:
        with self._lock:
            now = self._clock.time_ms()
            rows = islice(self._table.overdue(now), max(limit, 0))
            return Overdue(now=now, records=tuple(undecided(row) for row in rows))

    def purge(self, limit: int) -> int:
        with self._lock:
            self._table.log.cut()
            return self._table.purge(limit, self._clock.time_ms())

    def get(self, refs: Sequence[Ref]) -> list[Record | None]:
        with self._lock:
            now = self._clock.time_ms()
            return [self._get(ref, now) for ref in refs]

    def notes(self, ref: Ref) -> Notes:
        with self._lock:
            lanes = [ref.queue] if ref.queue else list(self._table.lanes)
            for queue in lanes:
                row = self._table.row(queue, ref.id)
                if row is not None and row.notebook is not None:
                    return row.notebook.read()
            return Notes()

    def find(self, filter: Filter, order: Order, cursor: str | None, limit: int) -> Page:
        with self._lock:
            now = self._clock.time_ms()
            lanes = self._table.lanes.values()
            rows, further = listing.page(lanes, filter, order, cursor, max(limit, 1), now)
            return Page(now=now, records=tuple(listed(row) for row in rows), cursor=further)

    def stats(self) -> Stats:
        with self._lock:
            now = self._clock.time_ms()
            lanes = self._table.lanes
            return Stats(now=now, queues=tuple(self._count(name, now) for name in sorted(lanes)))

    def sessions(self) -> list[SessionInfo]:
        with self._lock:
            return self._table.sessions.shown()

    def pause(self, queue: str, paused: bool) -> None:
        with self._lock:
            self._table.lane(queue).paused = paused
            self._table.claims.wake(queue)

    def set_limit(self, key: str, running: int | None) -> None:
        with self._lock:
            slots = self._table.slots
            if running is None:
                slots.limits.pop(key, None)
            else:
                slots.limits[key] = running
            self._table.let_in(key, slots.room(key), self._clock.time_ms())
            self._tell_readers()

    def set_queue_limit(self, queue: str, waiting: int | None) -> None:
        with self._lock:
            self._table.lane(queue).limit = waiting

    def limits(self) -> tuple[tuple[str, str, int], ...]:
        with self._lock:
            keys = [("key", key, most) for key, most in self._table.slots.limits.items()]
            queues = [
                ("queue", lane.name, lane.limit)
                for lane in self._table.lanes.values()
                if lane.limit is not None
            ]
            return tuple(sorted(keys + queues))

    def document(self, name: str) -> Document | None:
        with self._lock:
            return self._documents.get(name)

    def documents(self, prefix: str) -> Sequence[Document]:
        with self._lock:
            return self._documents.with_prefix(prefix)

    def put_document(self, name: str, data: bytes | None, version: int) -> Document | None:
        with self._lock:
            return self._documents.put(name, data, version)

    def events(self, after: str | None, limit: int, bell: Bell | None = None) -> Events:
        """Read the event log; if there is nothing new, leave the bell."""
        with self._lock:
            events = self._table.log.read(after, limit)
            if bell is not None and not events.entries:
                self._readers.add(bell)
            return events

    def erase(self) -> None:
        """Forget everything; those who wait are woken and find out."""
        with self._lock:
            sleepers = (self._table.claims, self._readers)
            self._table = Table()
            self._documents = Documents()
            for each in sleepers:
                each.wake_all()

    def _claim(self, session: str, queues: Sequence[str], limit: int, now: int) -> list[Record]:
        living = self._table.sessions.living(session, now)
        records = self._table.claim(living, queues, limit, now)
        if records:
            self._tell_readers()
        return records

    def _apply(self, changes: Sequence[Write], now: int) -> list[Applied | Conflict | Duplicate]:
        results = [writes.apply(self._table, change, now) for change in changes]
        self._tell_readers()
        return results

    def _note(self, session: str, item: Note, now: int) -> Noted | Conflict:
        lease = item.lease
        row = self._table.row(lease.queue, lease.id)
        if (
            row is None
            or row.head.state is not State.RUNNING
            or row.head.fence != lease.fence
            or row.head.session != session
        ):
            return Conflict(record=self._get(Ref(lease.queue, lease.id), now))
        if row.notebook is None:
            row.notebook = Notebook()
        return row.notebook.write(item)

    def _get(self, ref: Ref, now: int) -> Record | None:
        lanes = self._table.lanes
        names = [ref.queue] if ref.queue else lanes
        remembered: Record | None = None
        for name in names:
            lane = lanes.get(name)
            if lane is None:
                continue
            row = lane.rows.get(ref.id)
            if row is not None:
                return complete(row)
            remembered = remembered or standing(lane, ref.id, now)
        return remembered

    def _count(self, name: str, now: int) -> QueueStats:
        lane = self._table.lanes[name]
        lane.promote(now)
        shelves = lane.shelves
        return QueueStats(
            queue=name,
            waiting=len(shelves[State.WAITING]),
            blocked=len(shelves[State.BLOCKED]),
            running=len(shelves[State.RUNNING]),
            succeeded=len(shelves[State.SUCCEEDED]),
            dead=len(shelves[State.DEAD]),
            cancelled=len(shelves[State.CANCELLED]),
            later=lane.later,
            paused=lane.paused,
            oldest_due=lane.oldest_due(),
        )

    def _tell_readers(self) -> None:
        """Wake those who read the event log, after something was written to it."""
        self._table.log.cut()
        if self._readers.bells:
            self._readers.wake_all()
