"""One transaction's view of the store as books: what is written, and every index that follows from it.

Whatever moves a job goes through `insert`, `move`, `look_at` or `remove`; no index is touched
anywhere else, so that they cannot come to differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final, TypeVar

import msgspec
from msgspec import structs

from treadle.broker.simple import keys
from treadle.broker.simple.keys import Part, behind, pack
from treadle.broker.simple.storage import Transaction
from treadle.broker.simple.values import Counters, Memory, Past, Queue, Row, TakenKey
from treadle.broker.values import LogEvent
from treadle.domain.codec import Codec
from treadle.domain.head import unblocked
from treadle.domain.job import NEVER, Head, Job, Ref
from treadle.domain.limits import EVENTS_KEPT
from treadle.domain.state import FINAL, Event, State
from treadle.domain.unique import held_until, holding_states, holds

V = TypeVar("V")

EVERYTHING: Final = 2**31
_encode = msgspec.msgpack.Encoder().encode
_decoders: dict[object, msgspec.msgpack.Decoder[object]] = {}


class Books:
    """What a transaction knows and does; `now` is its instant, in broker time."""

    def __init__(self, transaction: Transaction, codec: Codec, now: int) -> None:
        self.now = now
        self._store = transaction
        self._codec = codec
        self._queues: dict[str, Queue] = {}
        self._counters: Counters | None = None
        self._changed: set[str] = set()

    def read(self, kind: type[V], *parts: Part) -> V | None:
        """Return the value under a key."""
        data = self._store.get(pack(*parts))
        return None if data is None else _decode(kind, data)

    def write(self, value: object, *parts: Part) -> None:
        """Write a value under a key."""
        self._store.put(pack(*parts), _encode(value))

    def drop(self, *parts: Part) -> None:
        """Remove what stands under a key."""
        self._store.delete(pack(*parts))

    def first(
        self, kind: type[V], *prefix: Part, most: int = EVERYTHING, below: int | None = None
    ) -> list[V]:
        """Return the first values under a prefix; `below` ends them at a number that follows it."""
        start = pack(*prefix)
        end = behind(start) if below is None else pack(*prefix, below)
        return [_decode(kind, data) for _, data in islice(self._store.scan(start, end), most)]

    def walk(self, kind: type[V], *prefix: Part, after: int | None, reverse: bool) -> Iterator[V]:
        """Yield the values behind a number that follows a prefix, one way or the other."""
        start = pack(*prefix)
        end = behind(start)
        if after is not None and reverse:
            end = pack(*prefix, after)
        elif after is not None:
            start = pack(*prefix, after + 1)
        for _, data in self._store.scan(start, end, reverse=reverse):
            yield _decode(kind, data)

    def drop_all(self, *prefix: Part) -> None:
        """Remove everything under a prefix."""
        start = pack(*prefix)
        for key in [key for key, _ in self._store.scan(start, behind(start))]:
            self._store.delete(key)

    def waiting_keys(self) -> Iterator[str]:
        """Yield each concurrency key that somebody waits for, without looking at all who do."""
        start = pack(keys.WAITER)
        end = behind(start)
        while found := next(self._store.scan(start, end), None):
            row = self.row(_decode(Ref, found[1]))
            yield row.head.blocked_on
            start = behind(pack(keys.WAITER, row.head.blocked_on))

    @property
    def counters(self) -> Counters:
        """Return the numbers that grow; they are written at the end."""
        if self._counters is None:
            self._counters = self.read(Counters, keys.COUNTERS) or Counters()
        return self._counters

    def known_queue(self, name: str) -> Queue | None:
        """Return a queue that something was ever written of."""
        queue = self._queues.get(name) or self.read(Queue, keys.QUEUE, name)
        if queue is not None:
            self._queues[name] = queue
        return queue

    def queue(self, name: str) -> Queue:
        """Return a queue in order to change it; it is known from now on."""
        self._changed.add(name)
        queue = self.known_queue(name)
        if queue is None:
            queue = self._queues[name] = Queue(name=name)
        return queue

    def queue_names(self) -> list[str]:
        """Return the names of all queues."""
        return [queue.name for queue in self.first(Queue, keys.QUEUE)]

    def flush(self) -> None:
        """Write what was kept back until the end."""
        for name in sorted(self._changed):
            self.write(self._queues[name], keys.QUEUE, name)
        if self._counters is not None:
            self.write(self._counters, keys.COUNTERS)

    def find_row(self, ref: Ref) -> Row | None:
        """Return the row of a job; None if it is not stored."""
        return self.read(Row, keys.ROW, ref.queue, ref.id)

    def row(self, ref: Ref) -> Row:
        """Return the row of a job that an index names."""
        row = self.find_row(ref)
        if row is None:
            raise LookupError(f"an index names {ref}, which is not stored")
        return row

    def insert(self, job: Job) -> Row:
        """Store a job whose id and unique key are free; no removed row of its id had its fence."""
        counters = self.counters
        counters.seq += 1
        row = Row.of(job, self.now, counters.seq, counters.fence + 1)
        self.write_body(job)
        self.take_key(row)
        self.tie(row, (), job.after)
        self._enter(row, Event.ENQUEUE)
        return row

    def move(self, row: Row, head: Head, event: Event, *, goes_first: bool = False) -> None:
        """Replace the head of a row, and put it where it now belongs."""
        frees_slot = row.key and row.head.state is State.RUNNING
        self._leave(row)
        self._enter(structs.replace(row, head=head, goes_first=goes_first), event)
        if frees_slot:
            self.let_in(row.key, 1)

    def look_at(self, row: Row) -> None:
        """Have a blocked row looked at now; nothing else of it changes, its fence neither."""
        if not row.head.blocked_on:
            self.drop(keys.LOOK, row.head.due, *row.ref_parts)
            self.write(row.ref, keys.LOOK, self.now, *row.ref_parts)
        self.keep(structs.replace(row, head=structs.replace(row.head, due=self.now)))

    def keep(self, row: Row) -> None:
        """Write a row that stays where it is."""
        self.write(row, keys.ROW, *row.ref_parts)

    def remove(self, row: Row, until: int) -> None:
        """Drop a final row and all that belongs to it; remember its id until `until`."""
        queue, job_id = row.ref_parts
        name = "" if row.unique is None else row.unique.key
        taken = self.read(TakenKey, keys.UNIQUE, queue, name) if name else None
        if taken is not None and taken.id == job_id and taken.until > self.now:
            # A key that is held for a period outlives the record: its holder must stay known.
            until = max(until, taken.until)
        else:
            self.drop_key(row.ref, name)
        self._leave(row)
        self.tie(row, row.edges, ())
        for table in (keys.ROW, keys.BODY, keys.PAYLOAD, keys.PAST, keys.PROGRESS):
            self.drop(table, queue, job_id)
        self.drop_all(keys.STEP, queue, job_id)
        self.drop_all(keys.LOG, queue, job_id)
        earlier = self.read(Memory, keys.MEMORY, queue, job_id)
        if earlier is not None:
            self.drop(keys.FORGET, earlier.until, queue, job_id)
        self.counters.fence = max(self.counters.fence, row.head.fence)
        memory = Memory(row.head.state, row.head.fence, until, name)
        self.write(memory, keys.MEMORY, queue, job_id)
        self.write(row.ref, keys.FORGET, until, queue, job_id)

    def _enter(self, row: Row, event: Event) -> None:
        """Write a row and the entries of all indexes that it belongs to now."""
        head, (queue, job_id) = row.head, row.ref_parts
        if head.state is State.BLOCKED and head.blocked_on:
            self.counters.turn += 1
            row = structs.replace(row, turn=self.counters.turn)
            self.write(row.ref, keys.WAITER, head.blocked_on, row.turn)
        elif head.state is State.BLOCKED:
            self.write(row.ref, keys.LOOK, head.due, queue, job_id)
        elif head.state is State.WAITING:
            self.write(row.ref, *row.place)
        elif head.state is State.RUNNING:
            self.write(row.ref, keys.HELD, head.session, queue, job_id)
            self._count_slot(row.key, 1)
        elif head.due < NEVER:
            self.write(row.ref, keys.FINAL_DUE, head.due, queue, job_id)
        self.keep(row)
        self.write(row.ref, keys.STATE, queue, int(head.state), row.seq)
        self.queue(queue).counts[head.state] += 1
        self.tell(row, event)

    def _leave(self, row: Row) -> None:
        """Drop the entries of all indexes that a row belongs to."""
        head, (queue, job_id) = row.head, row.ref_parts
        if head.state is State.BLOCKED and head.blocked_on:
            self.drop(keys.WAITER, head.blocked_on, row.turn)
        elif head.state is State.BLOCKED:
            self.drop(keys.LOOK, head.due, queue, job_id)
        elif head.state is State.WAITING:
            self.drop(*row.place)
        elif head.state is State.RUNNING:
            self.drop(keys.HELD, head.session, queue, job_id)
            self._count_slot(row.key, -1)
        else:
            self.drop(keys.FINAL_DUE, head.due, queue, job_id)
        self.drop(keys.STATE, queue, int(head.state), row.seq)
        self.queue(queue).counts[head.state] -= 1

    def write_body(self, job: Job) -> None:
        """Write what of a job does not change when it moves."""
        self._store.put(pack(keys.BODY, job.queue, job.id), self._codec.encode(job))
        self._store.put(pack(keys.PAYLOAD, job.queue, job.id), job.payload)

    def body(self, ref: Ref) -> bytes:
        """Return the envelope of a stored job."""
        return self._store.get(pack(keys.BODY, ref.queue, ref.id)) or b""

    def payload(self, ref: Ref) -> bytes:
        """Return the payload of a stored job."""
        return self._store.get(pack(keys.PAYLOAD, ref.queue, ref.id)) or b""

    def past(self, ref: Ref) -> Past:
        """Return the result and the history of a job."""
        return self.read(Past, keys.PAST, ref.queue, ref.id) or Past()

    def tie(self, row: Row, old: tuple[Ref, ...], new: tuple[Ref, ...]) -> None:
        """Replace the entries of the jobs that a row waits for."""
        for parent in set(old) - set(new):
            self.drop(keys.CHILD, parent.queue, parent.id, *row.ref_parts)
        for parent in set(new) - set(old):
            self.write(row.ref, keys.CHILD, parent.queue, parent.id, *row.ref_parts)

    def look_at_children(self, parent: Ref) -> bool:
        """Have the blocked children of a job looked at now; tell whether there are any."""
        rows = [self.row(ref) for ref in self.first(Ref, keys.CHILD, parent.queue, parent.id)]
        blocked = [row for row in rows if row.head.state is State.BLOCKED]
        for row in blocked:
            self.look_at(row)
        return bool(blocked)

    def is_final(self, ref: Ref) -> bool:
        """Tell whether nobody need wait for a job: it is final, or gone."""
        row = self.find_row(ref)
        return row is None or row.head.state in FINAL

    def has_room(self, key: str) -> bool:
        """Tell whether one more job of a concurrency key may run."""
        limit = self._limit(key)
        return limit is None or (self.read(int, keys.USED, key) or 0) < limit

    def let_in(self, key: str, most: int) -> None:
        """Let up to `most` waiters of a concurrency key stand first in their lines."""
        limit = self._limit(key)
        if limit is not None:
            most = min(most, limit - (self.read(int, keys.USED, key) or 0))
        for ref in self.first(Ref, keys.WAITER, key, most=max(most, 0)):
            row = self.row(ref)
            self.move(row, unblocked(row.head, self.now), Event.UNBLOCK, goes_first=True)

    def _limit(self, key: str) -> int | None:
        found = self.read(tuple[str, int], keys.LIMIT, key)
        return None if found is None else found[1]

    def _count_slot(self, key: str, step: int) -> None:
        # Counted without a limit too: one may be set while the job runs.
        if key:
            used = (self.read(int, keys.USED, key) or 0) + step
            self.write(used, keys.USED, key) if used else self.drop(keys.USED, key)

    def key_holder(self, job: Job) -> Ref | None:
        """Return the other job that holds the unique key of `job`."""
        if job.unique is None:
            return None
        taken = self.read(TakenKey, keys.UNIQUE, job.queue, job.unique.key)
        if taken is None or taken.id == job.id:
            return None
        holder = Ref(job.queue, taken.id)
        row = self.find_row(holder)
        state = None if row is None else row.head.state
        return holder if holds(taken.mask, taken.until, state, self.now) else None

    def take_key(self, row: Row) -> None:
        """Let a row hold the unique key of its job."""
        unique = row.unique
        if unique is not None:
            taken = TakenKey(row.ref.id, holding_states(unique), held_until(unique, self.now))
            self.write(taken, keys.UNIQUE, row.ref.queue, unique.key)

    def drop_key(self, ref: Ref, key: str) -> None:
        """Release a unique key, if this job is who took it."""
        taken = self.read(TakenKey, keys.UNIQUE, ref.queue, key) if key else None
        if taken is not None and taken.id == ref.id:
            self.drop(keys.UNIQUE, ref.queue, key)

    def tell(self, row: Row, event: Event, *, gone: bool = False) -> None:
        """Leave an entry in the event log: what happened, and the state after it."""
        counters = self.counters
        counters.event += 1
        entry = LogEvent(
            cursor=str(counters.event),
            at=self.now,
            event=event.value,
            queue=row.ref.queue,
            id=row.ref.id,
            state="" if gone else row.head.state.name.lower(),
        )
        self.write(entry, keys.EVENT, counters.event)
        self.drop(keys.EVENT, counters.event - EVENTS_KEPT)


def _decode(kind: type[V], data: bytes) -> V:
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    return decoder.decode(data)  # type: ignore[return-value]
