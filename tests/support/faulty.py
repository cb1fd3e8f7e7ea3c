"""A real broker on a bad network: requests get lost, replies get lost, calls hang."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from treadle.broker.base import Clock, Enqueued, Events, Settled
from treadle.broker.memory import MemoryBroker
from treadle.broker.memory.store import Store
from treadle.broker.url import BrokerUrl
from treadle.domain.job import Job, Record, Ref
from treadle.domain.outcome import Write
from treadle.errors import BrokerUnavailable, Uncertain


class Network:
    """What is wrong with it now; shared by all brokers that use it."""

    def __init__(self) -> None:
        self.enqueues: list[int] = []
        """How many jobs each call that arrived has brought."""
        self.connected = 0
        self.lose_replies = 0
        """So many next replies get lost: the call was carried out."""
        self.refuse = False
        self.hang_connecting = False
        self.silent_events = False
        self.away = False
        """Reads fail."""
        self._moves: anyio.Event | None = None

    def hang(self) -> None:
        """Let no enqueue through, until told otherwise."""
        self._moves = anyio.Event()

    def move(self) -> None:
        """Let through what hangs, and everything after it."""
        if self._moves is not None:
            self._moves.set()
            self._moves = None

    async def pass_enqueue(self) -> None:
        """Return when enqueues get through."""
        if self._moves is not None:
            await self._moves.wait()


class FaultyBroker(MemoryBroker):
    """The memory broker behind a network."""

    def __init__(
        self, url: BrokerUrl, clock: Clock, network: Network, store: Store | None = None
    ) -> None:
        super().__init__(url, clock, store)
        self.network = network

    def another(self) -> FaultyBroker:
        return FaultyBroker(self.url, self._clock, self.network, self._store)

    async def connect(self) -> None:
        if self.network.hang_connecting:
            await anyio.sleep_forever()
        if self.network.refuse:
            raise BrokerUnavailable("cannot reach the broker: connection refused")
        await super().connect()
        self.network.connected += 1

    async def disconnect(self) -> None:
        await super().disconnect()
        self.network.connected -= 1

    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        await self.network.pass_enqueue()
        if self.network.refuse:
            raise BrokerUnavailable("cannot reach the broker: connection refused")
        self.network.enqueues.append(len(jobs))
        enqueued = await super().enqueue(jobs)
        if self.network.lose_replies:
            self.network.lose_replies -= 1
            raise Uncertain("connection lost", ids=[job.id for job in jobs])
        return enqueued

    async def apply(self, writes: Sequence[Write]) -> Settled:
        settled = await super().apply(writes)
        if self.network.lose_replies:
            self.network.lose_replies -= 1
            return await super().apply(writes)  # a broker repeats what is safe to repeat
        return settled

    async def events(self, after: str | None, *, limit: int = 1_000, wait_ms: int = 0) -> Events:
        if self.network.silent_events and after is not None:
            await anyio.sleep(wait_ms / 1_000)
            return Events(cursor=after)
        return await super().events(after, limit=limit, wait_ms=wait_ms)

    async def get(self, refs: Sequence[Ref]) -> Sequence[Record | None]:
        self._fail_if_away()
        return await super().get(refs)

    def _fail_if_away(self) -> None:
        if self.network.away:
            raise BrokerUnavailable("connection reset by peer")
