"""The SQLite broker: jobs in a file, for any number of processes of one machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import anyio

from treadle.broker.base import BrokerBase, Clock
from treadle.broker.sqlite import (
    changes,
    claims,
    control,
    events,
    listing,
    notebook,
    purge,
    sessions,
)
from treadle.broker.sqlite.connection import Connection
from treadle.broker.sqlite.describe import describe
from treadle.broker.sqlite.erase import erase_files
from treadle.broker.sqlite.history import standing
from treadle.broker.sqlite.location import locate
from treadle.broker.sqlite.operations import Enqueue
from treadle.broker.sqlite.reader import Reader
from treadle.broker.sqlite.transaction import Effects, Transaction
from treadle.broker.sqlite.wake import (
    CLAIMS,
    EVENTS,
    FALLBACK_SECONDS,
    HAS_SOCKETS,
    Bell,
    Ringer,
    Waiter,
)
from treadle.broker.sqlite.writer import Writer
from treadle.broker.url import BrokerUrl
from treadle.broker.values import (
    Capability,
    Claimed,
    Conflict,
    Description,
    Document,
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
    SessionInfo,
    Settled,
    Stats,
    Step,
    Turned,
)
from treadle.domain.job import Job, Record, Ref
from treadle.domain.outcome import Write
from treadle.errors import BrokerUnavailable, SessionEnded

T = TypeVar("T")
_PUSH = frozenset({Capability.PUSH}) if HAS_SOCKETS else frozenset[Capability]()


def _nothing(connection: Connection) -> None:
    """Be content with an open connection."""


class SqliteBroker(BrokerBase):
    """A file. One thread writes for this object, one reads; both begin when they are needed."""

    capabilities = _PUSH | {Capability.FUSED, Capability.DURABLE, Capability.SHARED}

    def __init__(self, url: BrokerUrl, clock: Clock) -> None:
        super().__init__(url)
        self._location = locate(url)
        self._clock = clock
        self._claims = Bell(self._location, CLAIMS)
        self._events = Bell(self._location, EVENTS)
        self._writer = Writer(self._location, clock, Ringer(self._location))
        self._writer.on_commit = self._tell_waiters
        self._reader = Reader(self._location)
        self._is_connected = False
        self.fallback_seconds = FALLBACK_SECONDS
        """How often a call that waits looks at the file, whether it was woken or not."""

    def another(self) -> SqliteBroker:
        return SqliteBroker(self.url, self._clock)

    async def connect(self) -> None:
        await self._writer.outside(_nothing)
        self._is_connected = True

    async def disconnect(self) -> None:
        if self._writer.is_inherited():
            return  # the sockets and files are the parent's
        self._claims.close()
        self._events.close()
        await self._reader.end()
        await self._writer.end()
        self._is_connected = False

    async def open(self, name: str, lease_ms: int, info: bytes) -> Opened:
        work = partial(sessions.open_session, name=name, lease_ms=lease_ms, info=info)
        return await self._writer.write(work)

    async def close(self, session: str) -> None:
        await self._writer.write(partial(sessions.close_session, session=session))

    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        return await self._writer.ask(Enqueue(jobs))

    async def claim(
        self, session: str, queues: Sequence[str], limit: int, wait_ms: int = 0
    ) -> Claimed:
        if wait_ms <= 0 or limit <= 0:
            return (await self._claim(session, queues, limit))[0]
        until = anyio.current_time() + wait_ms / 1_000
        while True:
            waiter = Waiter(queues)
            self._claims.add(waiter)
            try:
                claimed, due = await self._claim(session, queues, limit)
                left = until - anyio.current_time()
                if claimed.records or left <= 0:
                    return claimed
                if due is not None:
                    left = min(left, max(due - claimed.now, 1) / 1_000)
                await self._claims.wait(waiter, min(left, self.fallback_seconds))
            finally:
                self._claims.remove(waiter)

    async def _claim(
        self, session: str, queues: Sequence[str], limit: int
    ) -> tuple[Claimed, int | None]:
        """Claim; if there was nothing, tell when the next job is due."""

        def work(tx: Transaction) -> tuple[Claimed, int | None]:
            number = sessions.living(tx, session)
            records, is_cut = claims.claim(tx, number, queues, limit)
            due = None if records else tx.now if is_cut else claims.next_due(tx, queues)
            return Claimed(now=tx.now, records=records), due

        return await self._writer.write(work, durable=False)

    async def apply(self, writes: Sequence[Write]) -> Settled:
        def work(tx: Transaction) -> Settled:
            return Settled(now=tx.now, results=changes.apply(tx, writes))

        return await self._writer.write(work)

    async def turn(
        self, session: str, writes: Sequence[Write], queues: Sequence[str], limit: int
    ) -> Turned:
        def work(tx: Transaction) -> Turned | SessionEnded:
            results = changes.apply(tx, writes)
            try:
                number = sessions.living(tx, session)
            except SessionEnded as ended:
                return ended  # raised outside: the writes stay
            records, _ = claims.claim(tx, number, queues, limit)
            return Turned(now=tx.now, results=results, records=records)

        turned = await self._writer.write(work, durable=bool(writes))
        if isinstance(turned, SessionEnded):
            raise turned
        return turned

    async def heartbeat(self, session: str, held: Sequence[Lease]) -> Pulse:
        work = partial(sessions.heartbeat, session=session, held=held)
        return await self._writer.write(work, durable=False)

    async def note(self, session: str, items: Sequence[Note]) -> Sequence[Noted | Conflict]:
        durable = any(isinstance(item, Step) for item in items)
        work = partial(notebook.write, session=session, items=items)
        return await self._writer.write(work, durable=durable)

    async def overdue(self, limit: int) -> Overdue:
        def work(connection: Connection) -> tuple[Overdue, bool]:
            return sessions.overdue(connection, self._clock.time_ms(), limit)

        found, has_jumped = await self._read(work)
        if has_jumped:
            await self._writer.write(sessions.cut_leases, durable=False)
        return found

    async def purge(self, limit: int) -> int:
        dropped, more = 0, True
        while more and dropped < limit:
            chunk = min(limit - dropped, purge.CHUNK)
            count, more = await self._writer.write(partial(purge.purge, limit=chunk))
            dropped += count
        await self._writer.write(purge.tidy)
        await self._writer.outside(purge.shrink)
        return dropped

    async def get(self, refs: Sequence[Ref]) -> Sequence[Record | None]:
        def work(connection: Connection) -> list[Record | None]:
            now = self._clock.time_ms()
            return [standing(connection, ref, now) for ref in refs]

        return await self._read(work)

    async def notes(self, ref: Ref) -> Notes:
        return await self._read(partial(notebook.read, ref=ref))

    async def find(
        self,
        filter: Filter,
        *,
        order: Order = Order.NEWEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        def work(connection: Connection) -> Page:
            now = self._clock.time_ms()
            return listing.page(connection, now, filter, order, cursor, max(limit, 1))

        return await self._read(work)

    async def stats(self) -> Stats:
        return await self._read(lambda connection: control.stats(connection, self._clock.time_ms()))

    async def sessions(self) -> Sequence[SessionInfo]:
        return await self._read(sessions.shown)

    async def pause(self, queue: str, paused: bool) -> None:
        await self._writer.write(partial(control.pause, queue=queue, paused=paused))

    async def set_limit(self, key: str, running: int | None) -> None:
        await self._writer.write(partial(control.set_limit, key=key, running=running))

    async def set_queue_limit(self, queue: str, waiting: int | None) -> None:
        await self._writer.write(partial(control.set_queue_limit, queue=queue, waiting=waiting))

    async def limits(self) -> tuple[tuple[str, str, int], ...]:
        return await self._read(control.limits)

    async def document(self, name: str) -> Document | None:
        return await self._read(partial(control.document, name=name))

    async def documents(self, prefix: str) -> Sequence[Document]:
        return await self._read(partial(control.documents, prefix=prefix))

    async def put_document(self, name: str, data: bytes | None, version: int) -> Document | None:
        work = partial(control.put_document, name=name, data=data, version=version)
        return await self._writer.write(work)

    async def events(self, after: str | None, *, limit: int = 1_000, wait_ms: int = 0) -> Events:
        work = partial(events.read, after=after, limit=limit)
        if after is None or wait_ms <= 0:
            return await self._read(work)
        until = anyio.current_time() + wait_ms / 1_000
        while True:
            waiter = Waiter(())
            self._events.add(waiter)
            try:
                found = await self._read(work)
                left = until - anyio.current_time()
                if found.entries or left <= 0:
                    return found
                await self._events.wait(waiter, min(left, self.fallback_seconds))
            finally:
                self._events.remove(waiter)

    async def describe(self) -> Description:
        return await self._writer.outside(partial(describe, location=self._location))

    async def erase(self) -> None:
        await self.disconnect()
        await erase_files(self._location)

    async def _read(self, work: Callable[[Connection], T]) -> T:
        if not self._is_connected:
            await self.connect()
        try:
            return await self._reader.read(work)
        except BrokerUnavailable:
            self._is_connected = False  # the file may be gone: the next call makes it ready again
            raise

    def _tell_waiters(self, effects: Effects) -> None:
        """Wake the calls that wait here (on the loop)."""
        if effects.everybody or effects.rung:
            self._claims.ring(None if effects.everybody else frozenset(effects.rung))
        if effects.entries:
            self._events.ring(None)
