"""Plays a program on a broker: finds out what its symbols name, and makes the calls.

The player knows what a careful client knows: the answers it was given. It asks through one
function, so whoever plays decides what is done with each call and its answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Protocol, assert_never

from treadle.broker.values import (
    Claimed,
    Lease,
    LogLine,
    Note,
    Opened,
    Overdue,
    Progress,
    Pulse,
    Step,
    Turned,
)
from treadle.conformance.model import calls
from treadle.conformance.program import ops
from treadle.conformance.program.jobs import Jobs, ref
from treadle.conformance.program.reader import Ask, Reader
from treadle.domain.decide import decide
from treadle.domain.job import Record, Ref
from treadle.domain.outcome import Happening, LookedAt, Lost, Refused, Write
from treadle.domain.state import State
from treadle.errors import SessionEnded

LEASES = {"ada": 3, "bob": 100, "cyd": 10}
"""The leases of workers, in ticks, that open a session because they need one."""


class Connection(Protocol):
    """What a program may do with the connection, besides calls."""

    async def elapse(self, ms: int) -> None:
        """Let time pass."""
        ...

    async def reconnect(self) -> None:
        """Disconnect, and connect again."""
        ...

    async def switch(self) -> None:
        """Go on with another connection to the same store."""
        ...

    async def restart(self) -> None:
        """Restart the server, if that can be done."""
        ...

    def now(self) -> int:
        """Return broker time, as the last answer told it."""
        ...


class Player:
    """Plays operations one after the other."""

    def __init__(self, ask: Ask, connection: Connection, tick_ms: int) -> None:
        self._ask = ask
        self.reader = Reader(ask)
        self._connection = connection
        self._jobs = Jobs(tick_ms)
        self._sessions: dict[str, str] = {}
        self._ended: set[str] = set()
        self._held: dict[str, list[Record]] = {}
        self._settled: dict[str, list[Record]] = {}
        self._sent: list[calls.Apply] = []
        self._noted = 0

    async def play(self, op: ops.Op) -> None:
        """Play one operation; it is skipped if its symbol names nothing."""
        match op:
            case ops.Enqueue(jobs):
                await self._enqueue(jobs)
            case ops.Claim():
                session = await self._session(op.worker)
                self._take(
                    op.worker,
                    await self._ask(calls.Claim(session=session, queues=op.queues, limit=op.limit)),
                )
            case ops.Settle():
                await self._settle(op)
            case ops.Turn():
                await self._turn(op)
            case ops.Beat():
                await self._beat(op)
            case ops.Jot():
                await self._jot(op)
            case ops.Ask():
                await self._request(op)
            case ops.Sweep():
                await self._sweep(op)
            case ops.Repeat(ago):
                if self._sent:
                    await self._ask(self._sent[-1 - ago % len(self._sent)])
            case ops.Open(worker=worker, lease=lease):
                await self._open(worker, lease)
            case ops.Close(worker):
                if worker in self._sessions:
                    await self._ask(calls.Close(self._sessions[worker]))
            case ops.Elapse(ticks):
                await self._connection.elapse(ticks * self._jobs.tick_ms)
            case ops.Reconnect():
                await self._connection.reconnect()
            case ops.Switch():
                await self._connection.switch()
            case ops.Restart():
                await self._connection.restart()
            case _:
                await self._play_rest(op)

    async def _play_rest(
        self,
        op: ops.Purge
        | ops.Pause
        | ops.LimitKey
        | ops.LimitQueue
        | ops.Read
        | ops.List
        | ops.Put
        | ops.Follow
        | ops.Scan,
    ) -> None:
        match op:
            case ops.Purge(limit):
                await self._ask(calls.Purge(limit))
            case ops.Pause(queue, paused):
                await self._ask(calls.Pause(queue, paused))
            case ops.LimitKey(key, running):
                await self._ask(calls.SetLimit(key, running))
            case ops.LimitQueue(queue, waiting):
                await self._ask(calls.SetQueueLimit(queue, waiting))
            case ops.Read(jobs=names, anywhere=anywhere):
                refs = tuple(ref(name) for name in names)
                await self.reader.get(tuple(Ref("", one.id) for one in refs) if anywhere else refs)
            case ops.List():
                await self.reader.turn_pages(op)
            case ops.Put():
                await self.reader.put(op)
            case ops.Follow(limit):
                await self.reader.follow(limit)
            case ops.Scan():
                await self.reader.scan()
            case _:
                assert_never(op)

    # -- work

    async def _enqueue(self, jobs: Sequence[ops.NewJob]) -> None:
        made = tuple(map(self._jobs.job, jobs))
        self.reader.name(Ref(job.queue, job.id) for job in made)
        await self.reader.begin()
        self.reader.note_results(await self._ask(calls.Enqueue(made)))

    async def _session(self, worker: str) -> str:
        """Return the session of a worker; one that was told that it has ended opens a new one."""
        if worker not in self._sessions or worker in self._ended:
            await self._open(worker, LEASES.get(worker, 3))
        return self._sessions[worker]

    def _heed(self, worker: str, answer: object) -> None:
        if isinstance(answer, SessionEnded):
            self._ended.add(worker)

    async def _open(self, worker: str, lease: int) -> None:
        lease_ms = lease * self._jobs.tick_ms
        answer = await self._ask(calls.Open(name=worker, lease_ms=lease_ms, info=b'{"pid":7}'))
        if isinstance(answer, Opened):
            self._ended.discard(worker)
            self._sessions[worker] = answer.session
            self._settled.setdefault(worker, []).extend(self._held.pop(worker, []))
            self._held[worker] = _sorted(answer.inherited)

    def _take(self, worker: str, answer: object) -> None:
        self._heed(worker, answer)
        if isinstance(answer, Claimed | Turned):
            self._held.setdefault(worker, []).extend(answer.records)
            self.reader.note(answer.records)

    async def _settle(self, op: ops.Settle) -> None:
        writes = self._writes(op.worker, op.ends, op.follow_ups, late=op.late)
        await self._apply(writes)

    async def _turn(self, op: ops.Turn) -> None:
        session = await self._session(op.worker)
        writes = self._writes(op.worker, op.ends)
        turn = calls.Turn(session=session, writes=writes, queues=op.queues, limit=op.limit)
        answer = await self._ask(turn)
        if writes:
            self._sent.append(calls.Apply(writes))
        self.reader.note_results(answer)
        self._take(op.worker, answer)

    def _writes(
        self,
        worker: str,
        ends: Sequence[tuple[int, ops.How]],
        follow_ups: tuple[ops.NewJob, ...] = (),
        *,
        late: bool = False,
    ) -> tuple[Write, ...]:
        """Decide about attempts of a worker; each is held no longer then."""
        found: list[Write] = []
        for nth, how in ends:
            records = (self._settled if late else self._held).get(worker)
            if not records:
                break
            record = records[nth % len(records)] if late else records.pop(nth % len(records))
            if not late:
                self._settled.setdefault(worker, []).append(record)
            found += self._decide(record, self._jobs.outcome(how, follow_ups))
        self.reader.name(Ref(job.queue, job.id) for job in (follow_ups if found else ()))
        return tuple(found)

    def _decide(self, record: Record, happening: Happening) -> list[Write]:
        now = self._connection.now()
        decided = decide(record, happening, record.job.policy, now, Random(7))
        return [] if isinstance(decided, Refused) or record.forgotten else [decided]

    async def _apply(self, writes: Sequence[Write]) -> None:
        if writes:
            call = calls.Apply(tuple(writes))
            self._sent.append(call)
            self.reader.note_results(await self._ask(call))

    async def _beat(self, op: ops.Beat) -> None:
        session = await self._session(op.worker)
        named = self._held.get(op.worker, [])[op.forget :]
        if op.late:
            named = [*named, *self._settled.get(op.worker, [])[-2:]]
        held = tuple(dict.fromkeys(lease(record) for record in named))
        answer = await self._ask(calls.Heartbeat(session=session, held=held))
        self._heed(op.worker, answer)
        if isinstance(answer, Pulse):
            self._held[op.worker] = [*named, *_sorted(answer.orphans)]

    async def _jot(self, op: ops.Jot) -> None:
        records = (self._settled if op.late else self._held).get(op.worker)
        if not records:
            return
        record = records[op.nth % len(records)]
        first = self._noted
        self._noted += len(op.kinds)
        items = tuple(_note(lease(record), kind, n) for n, kind in enumerate(op.kinds, first))
        await self._ask(calls.TakeNotes(session=record.head.session, items=items))

    async def _request(self, op: ops.Ask) -> None:
        one = ref(op.job)
        record = self.reader.sighting(one, op.ago) or await self.reader.get_one(one)
        if record is None or record.forgotten:
            return
        happening = self._jobs.request(op.what, record)
        if happening is None:
            happening = await self._look(record)
        await self._apply(self._decide(record, happening))

    async def _sweep(self, op: ops.Sweep) -> None:
        answer = await self._ask(calls.AskOverdue(op.limit))
        if not isinstance(answer, Overdue):
            return
        writes: list[Write] = []
        for record in _sorted(answer.records):
            if record.head.state is State.RUNNING:
                writes += self._decide(record, Lost(ended=record.session_ended))
            else:
                writes += self._decide(record, await self._look(record))
        for batch in [writes] if op.together else [[write] for write in writes]:
            await self._apply(batch)

    async def _look(self, record: Record) -> LookedAt:
        if not record.edges:
            return LookedAt()
        parents = await self.reader.get(record.edges)
        states = [None if parent is None else parent.head.state for parent in parents]
        return LookedAt(parents=tuple(zip(record.edges, states, strict=True)))


def lease(record: Record) -> Lease:
    """Return the lease under which a claimed record runs."""
    return Lease(record.job.queue, record.job.id, record.head.fence)


def _sorted(records: Sequence[Record]) -> list[Record]:
    """Bring records whose order is free into one that is the same on every broker."""
    return sorted(records, key=lambda record: record.ref)


def _note(held: Lease, kind: str, number: int) -> Note:
    match kind:
        case "step":
            return Step(lease=held, name="fetch", data=b"%d" % number)
        case "progress":
            return Progress(lease=held, data=b"%d" % number)
        case _:
            return LogLine(lease=held, at=number, text=f"line {number}")
