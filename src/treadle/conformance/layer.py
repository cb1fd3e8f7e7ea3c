"""A broker around another one: whatever is asked passes through one place on its way."""

# ruff: noqa: D102 - the promise of each method stands once, in `broker/base.py`.

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Self, TypeVar

from treadle.broker.base import Broker
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
    Turned,
)
from treadle.domain.job import Job, Record, Ref
from treadle.domain.outcome import Write

T = TypeVar("T")


class Layer(ABC):
    """Keeps the protocol: what goes in goes to `inner`, what comes out is what `inner` gave.

    Every call passes `carry`; that and `another` are what a layer must say.
    """

    def __init__(self, inner: Broker) -> None:
        self.inner = inner

    @abstractmethod
    async def carry(self, call: str, run: Callable[[], Awaitable[T]]) -> T:
        """Carry one call to the inner broker; `call` is the name of the method."""

    @abstractmethod
    def another(self) -> Broker:
        """Make an unconnected broker on the same store, in a layer of the same kind."""

    @property
    def url(self) -> BrokerUrl:
        """Return the URL of the inner broker."""
        return self.inner.url

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Return the extras of the inner broker."""
        return self.inner.capabilities

    @property
    def backends(self) -> tuple[str, ...]:
        """Return the event loops that the inner broker runs on."""
        return self.inner.backends

    @property
    def max_record(self) -> int:
        """Return how many bytes one record may have in the inner broker."""
        return self.inner.max_record

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.disconnect()

    async def connect(self) -> None:
        await self.carry("connect", self.inner.connect)

    async def disconnect(self) -> None:
        await self.carry("disconnect", self.inner.disconnect)

    async def open(self, name: str, lease_ms: int, info: bytes) -> Opened:
        return await self.carry("open", lambda: self.inner.open(name, lease_ms, info))

    async def close(self, session: str) -> None:
        await self.carry("close", lambda: self.inner.close(session))

    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        return await self.carry("enqueue", lambda: self.inner.enqueue(jobs))

    async def claim(
        self, session: str, queues: Sequence[str], limit: int, wait_ms: int = 0
    ) -> Claimed:
        return await self.carry("claim", lambda: self.inner.claim(session, queues, limit, wait_ms))

    async def apply(self, writes: Sequence[Write]) -> Settled:
        return await self.carry("apply", lambda: self.inner.apply(writes))

    async def turn(
        self, session: str, writes: Sequence[Write], queues: Sequence[str], limit: int
    ) -> Turned:
        return await self.carry("turn", lambda: self.inner.turn(session, writes, queues, limit))

    async def heartbeat(self, session: str, held: Sequence[Lease]) -> Pulse:
        return await self.carry("heartbeat", lambda: self.inner.heartbeat(session, held))

    async def note(self, session: str, items: Sequence[Note]) -> Sequence[Noted | Conflict]:
        return await self.carry("note", lambda: self.inner.note(session, items))

    async def overdue(self, limit: int) -> Overdue:
        return await self.carry("overdue", lambda: self.inner.overdue(limit))

    async def purge(self, limit: int) -> int:
        return await self.carry("purge", lambda: self.inner.purge(limit))

    async def get(self, refs: Sequence[Ref]) -> Sequence[Record | None]:
        return await self.carry("get", lambda: self.inner.get(refs))

    async def notes(self, ref: Ref) -> Notes:
        return await self.carry("notes", lambda: self.inner.notes(ref))

    async def find(
        self,
        filter: Filter,
        *,
        order: Order = Order.NEWEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        return await self.carry(
            "find", lambda: self.inner.find(filter, order=order, cursor=cursor, limit=limit)
        )

    async def stats(self) -> Stats:
        return await self.carry("stats", self.inner.stats)

    async def sessions(self) -> Sequence[SessionInfo]:
        return await self.carry("sessions", self.inner.sessions)

    async def pause(self, queue: str, paused: bool) -> None:
        await self.carry("pause", lambda: self.inner.pause(queue, paused))

    async def set_limit(self, key: str, running: int | None) -> None:
        await self.carry("set_limit", lambda: self.inner.set_limit(key, running))

    async def set_queue_limit(self, queue: str, waiting: int | None) -> None:
        await self.carry("set_queue_limit", lambda: self.inner.set_queue_limit(queue, waiting))

    async def limits(self) -> tuple[tuple[str, str, int], ...]:
        return await self.carry("limits", self.inner.limits)

    async def document(self, name: str) -> Document | None:
        return await self.carry("document", lambda: self.inner.document(name))

    async def documents(self, prefix: str) -> Sequence[Document]:
        return await self.carry("documents", lambda: self.inner.documents(prefix))

    async def put_document(self, name: str, data: bytes | None, version: int) -> Document | None:
        return await self.carry(
            "put_document", lambda: self.inner.put_document(name, data, version)
        )

    async def events(self, after: str | None, *, limit: int = 1_000, wait_ms: int = 0) -> Events:
        return await self.carry(
            "events", lambda: self.inner.events(after, limit=limit, wait_ms=wait_ms)
        )

    async def describe(self) -> Description:
        return await self.carry("describe", self.inner.describe)

    async def erase(self) -> None:
        await self.carry("erase", self.inner.erase)
