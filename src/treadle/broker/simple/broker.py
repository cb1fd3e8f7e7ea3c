"""The broker itself: each operation of the protocol as one transaction, in a thread."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, Self, TypeVar

import anyio
import anyio.to_thread

from treadle.broker.base import BrokerBase, Clock
from treadle.broker.simple import claims, control, notes, reading, sessions
from treadle.broker.simple.books import Books
from treadle.broker.simple.records import Shower
from treadle.broker.simple.storage import Storage, Transaction
from treadle.broker.simple.writes import Desk
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
from treadle.errors import BrokerUnavailable, SessionEnded, StorageFull, Uncertain

T = TypeVar("T")
Result = Applied | Conflict | Duplicate

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class SimpleBroker(BrokerBase, ABC):
    """A whole broker on top of a `Storage`: inherit, and say which one and what it promises.

    Who inherits implements `storage` and `describe`, and sets `capabilities`; a constructor takes the
    same arguments as this one. A claim that waits looks again every `poll_ms`.
    """

    poll_ms: ClassVar[int] = 50

    def __init__(self, url: BrokerUrl, clock: Clock) -> None:
        super().__init__(url)
        self.clock = clock
        self._codec = Codec()
        self._storage: Storage | None = None
        self._one_at_a_time = anyio.CapacityLimiter(1)

    @abstractmethod
    def storage(self) -> Storage:
        """Return the store that the URL names, not yet opened."""

    def now_ms(self, transaction: Transaction) -> int:
        """Return the broker's time; who has a server with a clock asks that one.

        It must not go back from one transaction to the next by more than clocks do.
        """
        del transaction
        return self.clock.time_ms()

    @abstractmethod
    async def describe(self) -> Description:
        """Read the live settings of the store and say what they promise."""

    def another(self) -> Self:
        return type(self)(self.url, self.clock)

    async def connect(self) -> None:
        await self._in_thread(self._open)

    async def disconnect(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._in_thread(self._close)

    async def erase(self) -> None:
        await self._in_thread(self._erase)

    async def open(self, name: str, lease_ms: int, info: bytes) -> Opened:
        return await self._write(
            lambda books, shower: sessions.begin(books, shower, name, lease_ms, info)
        )

    async def close(self, session: str) -> None:
        await self._write(lambda books, _: sessions.close(books, session))

    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        def store(books: Books, shower: Shower) -> Enqueued:
            desk = Desk(books, shower, self.max_record // 2)
            return Enqueued(now=books.now, results=desk.store(jobs))

        try:
            return await self._write(store, ids=[job.id for job in jobs])
        except StorageFull as error:
            refused = Refused(code=RefusalCode.STORAGE_FULL, detail=str(error))
            return Enqueued(now=self.clock.time_ms(), results=[refused] * len(jobs))

    async def claim(
        self, session: str, queues: Sequence[str], limit: int, wait_ms: int = 0
    ) -> Claimed:
        def take(books: Books, shower: Shower) -> Claimed:
            sessions.insist_that_it_lives(books, session)
            records = claims.claim(books, shower, session, queues, limit)
            return Claimed(now=books.now, records=records)

        until = anyio.current_time() + wait_ms / 1_000
        while True:
            claimed = await self._write(take)
            if claimed.records or limit <= 0 or anyio.current_time() >= until:
                return claimed
            await self._until(lambda books, _: claims.has_due(books, queues), until)

    async def apply(self, writes: Sequence[Write]) -> Settled:
        return await self._write(
            lambda books, shower: Settled(now=books.now, results=self._apply(books, shower, writes))
        )

    async def turn(
        self, session: str, writes: Sequence[Write], queues: Sequence[str], limit: int
    ) -> Turned:
        def both(books: Books, shower: Shower) -> Turned | SessionEnded:
            results = self._apply(books, shower, writes)
            try:
                sessions.insist_that_it_lives(books, session)
            except SessionEnded as error:
                return error  # the writes stand all the same
            records = claims.claim(books, shower, session, queues, limit)
            return Turned(now=books.now, results=results, records=records)

        turned = await self._write(both)
        if isinstance(turned, SessionEnded):
            raise turned
        return turned

    async def heartbeat(self, session: str, held: Sequence[Lease]) -> Pulse:
        return await self._write(lambda books, shower: sessions.renew(books, shower, session, held))

    async def note(self, session: str, items: Sequence[Note]) -> Sequence[Noted | Conflict]:
        return await self._write(
            lambda books, shower: [notes.write(books, shower, session, item) for item in items]
        )

    async def overdue(self, limit: int) -> Overdue:
        return await self._write(lambda books, shower: sessions.overdue(books, shower, limit))

    async def purge(self, limit: int) -> int:
        return await self._write(lambda books, _: reading.purge(books, limit))

    async def get(self, refs: Sequence[Ref]) -> Sequence[Record | None]:
        return await self._read(
            lambda books, shower: [reading.get(books, shower, ref) for ref in refs]
        )

    async def notes(self, ref: Ref) -> Notes:
        return await self._read(lambda books, _: notes.read(books, ref))

    async def find(
        self,
        filter: Filter,
        *,
        order: Order = Order.NEWEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        return await self._read(
            lambda books, shower: reading.page(books, shower, filter, order, cursor, limit)
        )

    async def stats(self) -> Stats:
        return await self._read(lambda books, _: reading.stats(books))

    async def sessions(self) -> Sequence[SessionInfo]:
        return await self._read(lambda books, _: sessions.shown(books))

    async def pause(self, queue: str, paused: bool) -> None:
        await self._write(lambda books, _: setattr(books.queue(queue), "paused", paused))

    async def set_limit(self, key: str, running: int | None) -> None:
        await self._write(lambda books, _: control.set_limit(books, key, running))

    async def set_queue_limit(self, queue: str, waiting: int | None) -> None:
        await self._write(lambda books, _: setattr(books.queue(queue), "limit", waiting))

    async def limits(self) -> tuple[tuple[str, str, int], ...]:
        return await self._read(lambda books, _: control.limits(books))

    async def document(self, name: str) -> Document | None:
        return await self._read(lambda books, _: control.document(books, name))

    async def documents(self, prefix: str) -> Sequence[Document]:
        return await self._read(lambda books, _: control.documents(books, prefix))

    async def put_document(self, name: str, data: bytes | None, version: int) -> Document | None:
        return await self._write(lambda books, _: control.put_document(books, name, data, version))

    async def events(self, after: str | None, *, limit: int = 1_000, wait_ms: int = 0) -> Events:
        until = anyio.current_time() + wait_ms / 1_000
        found = await self._read(lambda books, _: reading.events(books, after, limit))
        if after is None or found.entries or wait_ms <= 0:
            return found
        await self._until(lambda books, _: reading.events(books, after, 1).entries, until)
        return await self._read(lambda books, _: reading.events(books, after, limit))

    def _apply(self, books: Books, shower: Shower, writes: Sequence[Write]) -> list[Result]:
        desk = Desk(books, shower, self.max_record // 2)
        return [desk.apply(write) for write in writes]

    async def _until(self, look: Callable[[Books, Shower], object], until: float) -> None:
        """Return when something is to be seen, or the time is over."""
        while (left := until - anyio.current_time()) > 0:
            await anyio.sleep(min(left, self.poll_ms / 1_000))
            if await self._read(look):
                return

    async def _read(self, work: Callable[[Books, Shower], T]) -> T:
        return await self._in_thread(partial(self._transact, work, write=False, ids=()))

    async def _write(self, work: Callable[[Books, Shower], T], ids: Sequence[str] = ()) -> T:
        return await self._in_thread(partial(self._transact, work, write=True, ids=ids))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run work in a thread; a call that is cancelled meanwhile happens all the same, as a whole."""
        return await anyio.to_thread.run_sync(work, limiter=self._one_at_a_time)

    def _transact(
        self, work: Callable[[Books, Shower], T], *, write: bool, ids: Sequence[str]
    ) -> T:
        if self._storage is None:
            raise BrokerUnavailable(f"{self.url} is not connected: call connect() first")
        is_done = False
        try:
            with self._storage.transaction(write=write) as transaction:
                books = Books(transaction, self._codec, self.now_ms(transaction))
                answer = work(books, Shower(books, self._codec))
                if write:
                    books.flush()
                is_done = True
            return answer
        except (OSError, BrokerUnavailable, StorageFull) as error:
            raise self._known(error, ids if is_done else ()) from error

    def _known(self, error: Exception, ids: Sequence[str]) -> Exception:
        """Return what an error of the storage means; `ids` may be stored or not."""
        is_full = isinstance(error, OSError) and error.errno in _FULL
        if is_full or isinstance(error, StorageFull):
            return StorageFull(f"{self.url}: {error}")
        if ids:
            return Uncertain(f"{self.url}: {error}: it may be stored", ids=ids)
        if isinstance(error, BrokerUnavailable):
            return error
        return BrokerUnavailable(f"{self.url}: {error}")

    def _open(self) -> None:
        if self._storage is not None:
            return
        storage = self.storage()
        try:
            storage.open()
        except OSError as error:
            raise BrokerUnavailable(f"{self.url}: {error}") from error
        self._storage = storage

    def _close(self) -> None:
        storage, self._storage = self._storage, None
        if storage is not None:
            storage.close()

    def _erase(self) -> None:
        storage = self._storage or self.storage()
        try:
            storage.erase()
        except OSError as error:
            raise BrokerUnavailable(f"{self.url}: {error}") from error
        finally:
            self._storage = None
            storage.close()
