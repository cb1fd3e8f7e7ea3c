"""What stands between a bad way and the store: it counts what arrives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

from treadle.broker.base import Broker, Enqueued, Events
from treadle.conformance.layer import Layer
from treadle.domain.job import Job

T = TypeVar("T")


class Arrived:
    """What has arrived at a store, whichever broker brought it."""

    def __init__(self) -> None:
        self.enqueues: list[int] = []
        """How many jobs each call has brought."""
        self.connected = 0
        self.silent_events = False
        """The event log shows nothing new."""


class Counted(Layer):
    """Any broker, and a list of what arrives there."""

    def __init__(self, inner: Broker, arrived: Arrived) -> None:
        super().__init__(inner)
        self.arrived = arrived

    def another(self) -> Broker:
        return Counted(self.inner.another(), self.arrived)

    async def carry(self, call: str, run: Callable[[], Awaitable[T]]) -> T:
        answer = await run()
        self.arrived.connected += {"connect": 1, "disconnect": -1}.get(call, 0)
        return answer

    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        self.arrived.enqueues.append(len(jobs))
        return await self.inner.enqueue(jobs)

    async def events(self, after: str | None, *, limit: int = 1_000, wait_ms: int = 0) -> Events:
        if self.arrived.silent_events and after is not None:
            await anyio.sleep(wait_ms / 1_000)
            return Events(cursor=after)
        return await self.inner.events(after, limit=limit, wait_ms=wait_ms)
