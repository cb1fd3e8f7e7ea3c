"""The rows of all queues, and every index that follows from their heads.

Whatever moves a row goes through `insert`, `claim`, `finish`, `move` or `remove`; no index is touched
anywhere else. Nothing here locks: a table belongs to one store, which does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from itertools import count, repeat
from typing import Final

from msgspec import structs

from treadle.broker.memory.control import EventLog
from treadle.broker.memory.flow import Edges, Slots
from treadle.broker.memory.lane import Key, Lane, Line, Memory, Row, Timeline
from treadle.broker.memory.records import running
from treadle.broker.memory.sessions import Session, Sessions
from treadle.broker.memory.sleepers import Sleepers
from treadle.domain.head import blocked_on, claimed, unblocked
from treadle.domain.job import NEVER, Head, Job, Record, Ref
from treadle.domain.state import FINAL, Event, State
from treadle.domain.unique import held_until, holding_states, holds

# A member of an enum costs more to look up than all else that happens to it here.
_BLOCKED: Final = State.BLOCKED
_WAITING: Final = State.WAITING
_RUNNING: Final = State.RUNNING
_ENQUEUE: Final = Event.ENQUEUE.value
_CLAIM: Final = Event.CLAIM.value
_CLAIMED: Final = State.RUNNING.name.lower()
_SUCCEED: Final = Event.SUCCEED.value
_SUCCEEDED: Final = State.SUCCEEDED.name.lower()
_NAMES = tuple(state.name.lower() for state in State)
_EVENTS = {event: event.value for event in Event}


class Table:
    """All rows and their indexes."""

    def __init__(self) -> None:
        self.lanes: dict[str, Lane] = {}
        self.edges = Edges()
        self.slots = Slots()
        self.sessions = Sessions()
        self.log = EventLog()
        self.claims = Sleepers()
        """Claims that wait, by queue."""
        self._finals = Timeline()
        self._memories: list[tuple[int, str, str]] = []
        self._seq = 0
        self._highest_gone = 0
        """The highest fence of all rows that were removed."""

    def first_fence(self) -> int:
        """Return the fence of a row that is stored now: no removed row of its id had it."""
        return self._highest_gone + 1

    def lane(self, name: str) -> Lane:
        """Return a queue; it is known from now on."""
        lane = self.lanes.get(name)
        if lane is None:
            lane = self.lanes[name] = Lane(name)
        return lane

    def row(self, queue: str, id: str) -> Row | None:
        """Return the row of a job."""
        lane = self.lanes.get(queue)
        return None if lane is None else lane.rows.get(id)

    def insert(self, job: Job, head: Head, now: int) -> Row:
        """Store a job whose id and unique key are free."""
        lane = self.lanes.get(job.queue) or self.lane(job.queue)
        if job.id in lane.remembered:
            self._forget(now)  # and the key that its first job had taken
        seq = self._seq = self._seq + 1
        row = lane.rows[job.id] = Row(job, head, now, seq)
        lane.shelves[head.state].add(seq, row)
        if job.unique is not None:
            self.take_key(row, now)
        if job.after:
            self.edges.tie(row, job.after)
        if head.state is _WAITING:
            self._wait(lane, row, now)
        else:
            self.edges.look_when_due(row)
        self.log.lines.append((now, _ENQUEUE, job.queue, job.id, _NAMES[head.state]))
        return row

    def insert_alike(self, jobs: Sequence[Job], head: Head, now: int) -> None:
        """Store jobs of one queue and priority that are due now and wait for nothing else.

        Their ids are free. One step for each index instead of one for each job.
        """
        name, priority = jobs[0].queue, jobs[0].priority
        lane = self.lane(name)
        first = self._seq + 1
        self._seq += len(jobs)
        rows = list(map(Row, jobs, repeat(head), repeat(now), count(first)))
        ids = [job.id for job in jobs]
        lane.rows.update(zip(ids, rows, strict=True))
        lane.shelves[head.state].add_many(first, rows)
        lane.lines[priority].put_many(
            list(zip(repeat(head.due), count(first), repeat(head.fence), rows))
        )
        if self.claims.bells and not lane.paused:
            self.claims.wake(name)
        state = _NAMES[head.state]
        self.log.lines.extend(zip(repeat(now), repeat(_ENQUEUE), repeat(name), ids, repeat(state)))

    def finish(self, lane: Lane, row: Row, head: Head, now: int) -> None:
        """Do what `move` does for a running row that succeeded: nearly all moves, at half the cost."""
        job, seq = row.job, row.seq
        self.sessions.release(row)
        _, _, running, succeeded, _, _ = lane.shelves
        running.drop(seq)
        row.head = head
        succeeded.add(seq, row)
        if head.due < NEVER:
            self._finals.push(row)
        self.log.lines.append((now, _SUCCEED, lane.name, job.id, _SUCCEEDED))
        if job.key:
            self.slots.give(job.key)
            self.let_in(job.key, 1, now)

    def move(self, row: Row, head: Head, event: Event, now: int, *, first: bool = False) -> None:
        """Replace a head and put the row where it now belongs."""
        job, old = row.job, row.head.state
        lane = self.lanes[job.queue]
        if old is _RUNNING:
            self.sessions.release(row)
            if job.key:
                self.slots.give(job.key)
        elif old is _WAITING:
            lane.forget_place(row)
        elif old is _BLOCKED and row.head.blocked_on:
            self.slots.leave(row)
        shelves, seq = lane.shelves, row.seq
        shelves[old].drop(seq)
        row.head = head
        shelves[head.state].add(seq, row)
        state = head.state
        if state in FINAL:
            if head.due < NEVER:
                self._finals.push(row)
        elif state is _WAITING:
            self._wait(lane, row, now, first=first)
        elif head.blocked_on:
            self.slots.wait(row)
        else:
            self.edges.look_when_due(row)
        self.log.lines.append((now, _EVENTS[event], job.queue, job.id, _NAMES[head.state]))
        if old is _RUNNING and job.key:
            self.let_in(job.key, 1, now)

    def remove(self, row: Row, until: int, now: int) -> None:
        """Drop a final row and all that belongs to it; remember its id until `until`."""
        job, head = row.job, row.head
        lane = self.lanes[job.queue]
        name = "" if job.unique is None else job.unique.key
        key = lane.keys.get(name)
        if key is not None and key.id == job.id:
            # A key that is held for a period outlives the record: its holder must stay known.
            until = max(until, key.until)
        self.edges.tie(row, ())
        del lane.rows[job.id]
        lane.shelves[head.state].drop(row.seq)
        row.head = structs.replace(head, fence=0)  # no entry names this fence
        self._highest_gone = max(self._highest_gone, head.fence)
        lane.remembered[job.id] = Memory(head.state, head.fence, until, name)
        heappush(self._memories, (until, lane.name, job.id))
        self._forget(now)

    def claim(self, session: Session, queues: Sequence[str], limit: int, now: int) -> list[Record]:
        """Start up to `limit` due rows, in order."""
        records: list[Record] = []
        for name in queues:
            lane = self.lanes.get(name)
            if lane is None or lane.paused:
                continue
            if lane.timers.has_due(now):
                lane.promote(now)
            for line in lane.lines:
                if len(records) < limit:
                    self._claim_line(lane, line, session, limit, now, records)
        return records

    def _claim_line(
        self, lane: Lane, line: Line, session: Session, limit: int, now: int, records: list[Record]
    ) -> None:
        held, log, take = session.held, self.log.lines, line.pop
        leave, enter = lane.shelves[_WAITING].drop, lane.shelves[_RUNNING].add
        before = after = None
        while len(records) < limit and (row := take()) is not None:
            job = row.job
            if job.key:
                if not self.slots.has_room(job.key):
                    self.move(row, blocked_on(row.head, job.key, now), Event.BLOCK, now)
                    continue
                self.slots.take(job.key)
            if row.head is not before or after is None:
                before = row.head  # jobs that were enqueued together share one
                after = claimed(before, session.id, now)
            leave(row.seq)
            enter(row.seq, row)
            held[row.seq] = row
            row.head = after
            log.append((now, _CLAIM, job.queue, job.id, _CLAIMED))
            records.append(running(row))

    def next_due(self, queues: Sequence[str]) -> int | None:
        """Return when the next timer of some queues is due."""
        lanes = (self.lanes.get(name) for name in queues)
        firsts = (lane.timers.first() for lane in lanes if lane is not None and not lane.paused)
        return min((row.head.due for row in firsts if row is not None), default=None)

    def let_in(self, key: str, most: int, now: int) -> None:
        """Let up to `most` waiters of a concurrency key stand first in their lines."""
        for _ in range(min(self.slots.room(key), most)):
            row = self.slots.first(key)
            if row is not None:
                self.move(row, unblocked(row.head, now), Event.UNBLOCK, now, first=True)

    def look_at_children(self, parent: Row, now: int) -> bool:
        """Have the blocked children of a final row looked at now; tell whether there are any."""
        children = self.edges.blocked_on(Ref(parent.job.queue, parent.job.id))
        for child in children:
            child.head = structs.replace(child.head, due=now)
            self.edges.look_when_due(child)
        return bool(children)

    def key_holder(self, job: Job, now: int) -> str | None:
        """Return the id of another job that holds the unique key of `job`."""
        lane = self.lanes.get(job.queue)
        if lane is None or job.unique is None:
            return None
        key = lane.keys.get(job.unique.key)
        if key is None or key.id == job.id:
            return None
        holder = lane.rows.get(key.id)
        state = None if holder is None else holder.head.state
        return key.id if holds(key.mask, key.until, state, now) else None

    def take_key(self, row: Row, now: int) -> None:
        """Let a row hold the unique key of its job."""
        unique = row.job.unique
        if unique is not None:
            held = Key(row.job.id, holding_states(unique), held_until(unique, now))
            self.lanes[row.job.queue].keys[unique.key] = held

    def drop_key(self, row: Row) -> None:
        """Release the unique key of a row's job, if the row is who took it."""
        unique = row.job.unique
        if unique is not None:
            keys = self.lanes[row.job.queue].keys
            key = keys.get(unique.key)
            if key is not None and key.id == row.job.id:
                del keys[unique.key]

    def overdue(self, now: int) -> Iterator[Row]:
        """Yield the rows that somebody must decide about."""
        yield from self.sessions.overdue(now)
        yield from self.edges.due(now)
        yield from self.slots.due(now)

    def write_down(self, row: Row, event: Event, now: int, *, gone: bool = False) -> None:
        """Leave an entry in the event log: what happened, and the state after it."""
        state = "" if gone else _NAMES[row.head.state]
        self.log.lines.append((now, _EVENTS[event], row.job.queue, row.job.id, state))

    def purge(self, limit: int, now: int) -> int:
        """Remove up to `limit` final rows past their retention; forget what is old."""
        count = 0
        while count < limit and (row := self._finals.pop(now)) is not None:
            self.remove(row, row.head.finished + row.job.policy.remember_ms, now)
            count += 1
        self._forget(now)
        self.sessions.purge(now)
        return count

    def _wait(self, lane: Lane, row: Row, now: int, *, first: bool = False) -> None:
        if lane.place(row, now, first=first) and self.claims.bells and not lane.paused:
            self.claims.wake(lane.name)

    def _forget(self, now: int) -> None:
        """Drop the memories that are over, and the keys that only they kept."""
        memories = self._memories
        while memories and memories[0][0] <= now:
            _, queue, job_id = heappop(memories)
            lane = self.lanes[queue]
            memory = lane.remembered.get(job_id)
            if memory is None or memory.until > now:
                continue
            del lane.remembered[job_id]
            key = lane.keys.get(memory.key)
            if key is not None and key.id == job_id and job_id not in lane.rows:
                del lane.keys[memory.key]
