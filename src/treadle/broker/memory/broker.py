"""The memory broker: the store behind the protocol, for one event loop."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from threading import Lock
from weakref import WeakValueDictionary

import anyio
from anyio.lowlevel import checkpoint

from treadle.broker.base import BrokerBase, Clock
from treadle.broker.memory.sleepers import Bell
from treadle.broker.memory.store import Store
from treadle.broker.url import BrokerUrl
from treadle.broker.values import (
    Capability,
    Claimed,
    Conflict,
    Description,
    Document,
    Durability,
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
from treadle.domain.job import Job, Record, Ref
from treadle.domain.outcome import Write

_sharing = Lock()
_shared: WeakValueDictionary[tuple[str, str, str], Store] = WeakValueDictionary()


class MemoryBroker(BrokerBase):
    """A store in this process: `memory://` is its own, `memory://name` is shared by that name.

    Each call first gives way to other tasks, then does its work in one step: a call that was
    cancelled did nothing, and one that did its work returns it.
    """

    capabilities = frozenset({Capability.PUSH, Capability.FUSED})

    def __init__(self, url: BrokerUrl, clock: Clock, store: Store | None = None) -> None:
        super().__init__(url)
        url.refuse_unknown(())
        self._clock = clock
        self._store = store or _store(url, clock, self.max_record)

    def another(self) -> MemoryBroker:
        return MemoryBroker(self.url, self._clock, self._store)

    async def connect(self) -> None:
        await checkpoint()

    async def disconnect(self) -> None:
        await checkpoint()

    async def open(self, name: str, lease_ms: int, info: bytes) -> Opened:
        await checkpoint()
        return self._store.open(name, lease_ms, info)

    async def close(self, session: str) -> None:
        await checkpoint()
        self._store.close(session)

    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        await checkpoint()
        return self._store.enqueue(jobs)

    async def claim(
        self, session: str, queues: Sequence[str], limit: int, wait_ms: int = 0
    ) -> Claimed:
        await checkpoint()
        claimed, _ = self._store.claim(session, queues, limit)
        until = anyio.current_time() + wait_ms / 1_000
        while not claimed.records and limit > 0:
            left = until - anyio.current_time()
            if left <= 0:
                break
            claimed = await self._claim_later(session, queues, limit, left)
        return claimed

    async def _claim_later(
        self, session: str, queues: Sequence[str], limit: int, left: float
    ) -> Claimed:
        """Claim once something may have become due, or `left` seconds are over."""
        bell = Bell(queues)
        try:
            claimed, due = self._store.claim(session, queues, limit, bell)
            if claimed.records:
                return claimed
            sleep = math.inf if due is None else max(due - claimed.now, 1) / 1_000
            with anyio.move_on_after(min(sleep, left)):
                await bell.event.wait()
            # Nothing is awaited behind this line: what is claimed is returned.
            return self._store.claim(session, queues, limit)[0]
        finally:
            self._store.leave(bell)

    async def apply(self, writes: Sequence[Write]) -> Settled:
        await checkpoint()
        return self._store.apply(writes)

    async def turn(
        self, session: str, writes: Sequence[Write], queues: Sequence[str], limit: int
    ) -> Turned:
        await checkpoint()
        return self._store.turn(session, writes, queues, limit)

    async def heartbeat(self, session: str, held: Sequence[Lease]) -> Pulse:
        await checkpoint()
        return self._store.heartbeat(session, held)

    async def note(self, session: str, items: Sequence[Note]) -> Sequence[Noted | Conflict]:
        await checkpoint()
        return self._store.note(session, items)

    async def overdue(self, limit: int) -> Overdue:
        await checkpoint()
        return self._store.overdue(limit)

    async def purge(self, limit: int) -> int:
        await checkpoint()
        return self._store.purge(limit)

    async def get(self, refs: Sequence[Ref]) -> Sequence[Record | None]:
        await checkpoint()
        return self._store.get(refs)

    async def notes(self, ref: Ref) -> Notes:
        await checkpoint()
        return self._store.notes(ref)

    async def find(
        self,
        filter: Filter,
        *,
        order: Order = Order.NEWEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        await checkpoint()
        return self._store.find(filter, order, cursor, limit)

    async def stats(self) -> Stats:
        await checkpoint()
        return self._store.stats()

    async def sessions(self) -> Sequence[SessionInfo]:
        await checkpoint()
        return self._store.sessions()

    async def pause(self, queue: str, paused: bool) -> None:
        await checkpoint()
        self._store.pause(queue, paused)

    async def set_limit(self, key: str, running: int | None) -> None:
        await checkpoint()
        self._store.set_limit(key, running)

    async def set_queue_limit(self, queue: str, waiting: int | None) -> None:
        await checkpoint()
        self._store.set_queue_limit(queue, waiting)

    async def limits(self) -> tuple[tuple[str, str, int], ...]:
        await checkpoint()
        return self._store.limits()

    async def document(self, name: str) -> Document | None:
        await checkpoint()
        return self._store.document(name)

    async def documents(self, prefix: str) -> Sequence[Document]:
        await checkpoint()
        return self._store.documents(prefix)

    async def put_document(self, name: str, data: bytes | None, version: int) -> Document | None:
        await checkpoint()
        return self._store.put_document(name, data, version)

    async def events(self, after: str | None, *, limit: int = 1_000, wait_ms: int = 0) -> Events:
        await checkpoint()
        if after is None or wait_ms <= 0:
            return self._store.events(after, limit)
        bell = Bell(("",))
        try:
            events = self._store.events(after, limit, bell)
            if events.entries:
                return events
            with anyio.move_on_after(wait_ms / 1_000):
                await bell.event.wait()
            return self._store.events(after, limit)
        finally:
            self._store.leave(bell)

    async def describe(self) -> Description:
        await checkpoint()
        return Description(
            name="memory",
            version=f"Python {platform.python_version()}",
            durability=Durability.NONE,
            warnings=("jobs live in this process: they end with it, and no other sees them",),
        )

    async def erase(self) -> None:
        await checkpoint()
        self._store.erase()


def _store(url: BrokerUrl, clock: Clock, max_record: int) -> Store:
    """Return a store of its own, or the one of that name in this process."""
    if not (url.host or url.path):
        return Store(clock, max_record)
    with _sharing:
        return _shared.setdefault((url.host, url.path, url.namespace), Store(clock, max_record))
