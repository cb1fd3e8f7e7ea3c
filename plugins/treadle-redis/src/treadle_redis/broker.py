"""The broker itself: each operation of the protocol as one call of a script."""

# ruff: noqa: D102 - the promise of each method stands once, in `treadle.broker.base`

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

import anyio

from treadle.broker.base import BrokerBase, Capability, Clock
from treadle.broker.loop import LoopHandle
from treadle.broker.url import BrokerUrl
from treadle.broker.values import (
    Applied,
    Claimed,
    Conflict,
    Description,
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
    SessionInfo,
    Settled,
    Stats,
    Turned,
)
from treadle.domain.codec import Codec
from treadle.domain.job import Job, Record, Ref
from treadle.domain.outcome import RefusalCode, Refused, Write
from treadle.errors import ConfigurationError, StorageFull, Uncertain
from treadle_redis import address, control, reads, scripts, server
from treadle_redis.answers import (
    insist_on_life,
    noted,
    settled,
    stored,
    undecided,
)
from treadle_redis.coalesce import Coalescer
from treadle_redis.desk import Desk
from treadle_redis.link import Argument
from treadle_redis.links import Links
from treadle_redis.records import Reader, Show
from treadle_redis.trouble import ReplyLost
from treadle_redis.wake import Bell
from treadle_redis.wire import Wire, text_bytes

logger = logging.getLogger("treadle.redis")

_EXTRAS: Final = frozenset(
    {Capability.PUSH, Capability.FUSED, Capability.SHARED, Capability.DURABLE}
)
Stored = Applied | Duplicate | Refused
Result = Applied | Conflict | Duplicate


class RedisBroker(BrokerBase):
    """Jobs in a Redis or Valkey server. Time is the server's; asyncio only."""

    capabilities = _EXTRAS
    backends = ("asyncio",)

    def __init__(self, url: BrokerUrl, clock: Clock) -> None:
        super().__init__(url)
        self._clock = clock
        self._address = address.read(url)
        links, codec = Links(self._address), Codec()
        self._links = links
        self._wire = Wire(codec, self.max_record // 2)
        self._reader = Reader(codec)
        self._desk = Desk(self._address, links, self._wire, self._reader)
        self._bell = Bell(self._address, links)
        self._enqueues = Coalescer[Job, tuple[int, Stored]](self._store, links.start)
        self._gets = Coalescer[Ref, Record | None](self._get, links.start)

    def another(self) -> RedisBroker:
        return RedisBroker(self.url, self._clock)

    async def connect(self) -> None:
        if self._links.is_open:
            return
        if (loop := LoopHandle().backend) not in self.backends:
            raise ConfigurationError(
                f"{self.url}: treadle-redis runs on asyncio, and this event loop is {loop}'s."
                " Run the program with `asyncio.run`, or with `anyio.run`, which takes asyncio unless told"
            )
        self._links.open()
        try:
            found = await server.check(self._desk)
        except BaseException:
            await self.disconnect()
            raise
        # A server without a log on disk promises nothing beyond its own life.
        self.capabilities = _EXTRAS if server.is_durable(found) else _EXTRAS - {Capability.DURABLE}

    async def disconnect(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._links.close()
            await self._bell.close()

    async def erase(self) -> None:
        self._links.open()
        try:
            await server.erase(self._desk)
        finally:
            await self.disconnect()

    async def describe(self) -> Description:
        return await server.describe(self._desk)

    async def open(self, name: str, lease_ms: int, info: bytes) -> Opened:
        now, session, inherited = await self._links.run(
            scripts.OPEN, text_bytes(name), lease_ms, info, again=True
        )
        records = undecided(self._reader, inherited)
        return Opened(now=now, session=session.decode("utf-8", "surrogatepass"), inherited=records)

    async def close(self, session: str) -> None:
        await self._links.run(scripts.CLOSE, text_bytes(session), again=True)

    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        try:
            answers = await self._enqueues.ask(jobs)
        except ReplyLost as error:
            ids = [job.id for job in jobs]
            raise Uncertain(f"{error}: the jobs may be stored", ids=ids) from error
        except StorageFull as error:
            refused = Refused(code=RefusalCode.STORAGE_FULL, detail=str(error))
            return Enqueued(now=self._clock.time_ms(), results=[refused] * len(jobs))
        now = answers[-1][0] if answers else (await self.apply([])).now
        return Enqueued(now=now, results=[answer for _, answer in answers])

    async def _store(self, jobs: list[Job]) -> list[tuple[int, Stored]]:
        arguments: list[Argument] = [self._wire.job(job) for job in jobs]
        now, *replies = await self._links.exchange(scripts.ENQUEUE, arguments)
        most = self.max_record // 2
        return [
            (now, stored(self._reader, job, reply, most))
            for job, reply in zip(jobs, replies, strict=True)
        ]

    async def claim(
        self, session: str, queues: Sequence[str], limit: int, wait_ms: int = 0
    ) -> Claimed:
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_ms / 1_000
        while True:
            turned, next_due = await self._turn(session, (), queues, limit, looks=wait_ms > 0)
            left = until - loop.time()
            if turned.records or limit <= 0 or left <= 0:
                return Claimed(now=turned.now, records=turned.records)
            if next_due >= 0:
                left = min(left, (next_due - turned.now) / 1_000)
            await self._bell.wait(queues, left)

    async def apply(self, writes: Sequence[Write]) -> Settled:
        turned, _ = await self._turn("", writes, (), 0)
        return Settled(now=turned.now, results=turned.results)

    async def turn(
        self, session: str, writes: Sequence[Write], queues: Sequence[str], limit: int
    ) -> Turned:
        turned, _ = await self._turn(session, writes, queues, limit)
        return turned

    async def _turn(
        self,
        session: str,
        writes: Sequence[Write],
        queues: Sequence[str],
        limit: int,
        *,
        looks: bool = False,
    ) -> tuple[Turned, int]:
        name, write = text_bytes(session), self._wire.write
        arguments: list[Argument] = [name, max(limit, 0), int(looks), len(queues), *queues]
        arguments += [write(each) for each in writes]
        reply: list[Any] = await self._links.run(scripts.TURN, *arguments)
        now, results, lives, claimed, next_due = reply
        insist_on_life(session, lives)
        reader = self._reader.record
        records = [
            reader(claimed[at], claimed[at + 1], claimed[at + 2], Show.RUNNING)
            for at in range(0, len(claimed), 3)
        ]
        answers = settled(self._reader, results)
        return Turned(now=now, results=answers, records=records), next_due

    async def heartbeat(self, session: str, held: Sequence[Lease]) -> Pulse:
        leases = map(self._wire.lease, held)
        lost: list[int]
        cancels: list[int]
        now, lives, lost, cancels, orphans = await self._links.run(
            scripts.HEARTBEAT, text_bytes(session), *leases, again=True
        )
        insist_on_life(session, lives)
        return Pulse(
            now=now,
            lost=tuple(held[number - 1] for number in lost),
            orphans=undecided(self._reader, orphans),
            cancels=tuple(held[number - 1] for number in cancels),
        )

    async def note(self, session: str, items: Sequence[Note]) -> Sequence[Noted | Conflict]:
        arguments = [argument for item in items for argument in self._wire.note(item)]
        replies = await self._links.run(scripts.NOTE, text_bytes(session), *arguments)
        return noted(self._reader, replies)

    async def overdue(self, limit: int) -> Overdue:
        now, found, unread = await self._links.run(scripts.OVERDUE, max(limit, 0), again=True)
        if unread:
            told = {"namespace": self._address.namespace, "sessions": unread}
            logger.warning("session_unreadable", extra=told)  # purge removes it
        return Overdue(now=now, records=undecided(self._reader, found))

    async def purge(self, limit: int) -> int:
        dropped: int = await self._links.run(scripts.PURGE, max(limit, 0), again=True)
        return dropped

    async def get(self, refs: Sequence[Ref]) -> Sequence[Record | None]:
        return await self._gets.ask(refs)

    async def _get(self, refs: list[Ref]) -> list[Record | None]:
        return await reads.get(self._desk, refs)

    async def notes(self, ref: Ref) -> Notes:
        return await reads.notes(self._desk, ref)

    async def find(
        self,
        filter: Filter,
        *,
        order: Order = Order.NEWEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        return await reads.find(self._desk, filter, order, cursor, limit)

    async def stats(self) -> Stats:
        return await reads.stats(self._desk)

    async def sessions(self) -> Sequence[SessionInfo]:
        return await control.sessions(self._desk)

    async def pause(self, queue: str, paused: bool) -> None:
        await self._links.run(scripts.CONTROL, "pause", queue, int(paused), again=True)

    async def set_limit(self, key: str, running: int | None) -> None:
        await control.set_limit(self._desk, "limit_key", key, running)

    async def set_queue_limit(self, queue: str, waiting: int | None) -> None:
        await control.set_limit(self._desk, "limit_queue", queue, waiting)

    async def limits(self) -> tuple[tuple[str, str, int], ...]:
        return await control.limits(self._desk)

    async def document(self, name: str) -> Document | None:
        return await control.document(self._desk, name)

    async def documents(self, prefix: str) -> Sequence[Document]:
        return await control.documents(self._desk, prefix)

    async def put_document(self, name: str, data: bytes | None, version: int) -> Document | None:
        return await control.put_document(self._desk, name, data, version)

    async def events(self, after: str | None, *, limit: int = 1_000, wait_ms: int = 0) -> Events:
        return await control.events(self._desk, self._bell, after, limit, wait_ms)
