"""A broker at the end of a road on which calls get lost, hang or are slow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import anyio

from tests.support.virtual import LoopClock
from tests.support.works import Works
from treadle.broker.base import Claimed, Conflict, Lease, Note, Noted, Pulse, Settled, Turned
from treadle.broker.memory import MemoryBroker
from treadle.broker.memory.store import Store
from treadle.broker.url import BrokerUrl
from treadle.domain.outcome import Write
from treadle.errors import BrokerUnavailable


class Road:
    """What happens on the way to the broker, shared by all its users."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.most: dict[str, int] = {}
        """A call that comes more often than this breaks the test, which would not end otherwise."""
        self.lost_requests: Counter[str] = Counter()
        self.lost_replies: Counter[str] = Counter()
        self.slow_requests: dict[str, float] = {}
        self.slow_replies: dict[str, float] = {}
        self.down = False

    async def request(self, call: str) -> None:
        self.calls[call] += 1
        assert self.calls[call] <= self.most.get(call, 1_000_000), f"{call} is called without end"
        await anyio.sleep(self.slow_requests.get(call, 0))
        if self.down:
            raise BrokerUnavailable("cannot reach the broker: connection refused")
        if self.lost_requests[call]:
            self.lost_requests[call] -= 1
            raise BrokerUnavailable(f"connection lost before {call}")

    async def reply(self, call: str) -> None:
        if call in self.slow_replies:
            await anyio.sleep(self.slow_replies[call])
        if self.lost_replies[call]:
            self.lost_replies[call] -= 1
            raise BrokerUnavailable(f"connection lost during {call}")


class RemoteBroker(MemoryBroker):
    """The memory broker at the end of a road."""

    def __init__(
        self, url: BrokerUrl, clock: LoopClock, road: Road, store: Store | None = None
    ) -> None:
        super().__init__(url, clock, store)
        self.road = road

    def another(self) -> RemoteBroker:
        assert isinstance(self._clock, LoopClock)
        return RemoteBroker(self.url, self._clock, self.road, self._store)

    async def claim(
        self, session: str, queues: Sequence[str], limit: int, wait_ms: int = 0
    ) -> Claimed:
        await self.road.request("claim")
        claimed = await super().claim(session, queues, limit, wait_ms)
        await self.road.reply("claim")
        return claimed

    async def turn(
        self, session: str, writes: Sequence[Write], queues: Sequence[str], limit: int
    ) -> Turned:
        await self.road.request("turn")
        turned = await super().turn(session, writes, queues, limit)
        await self.road.reply("turn")
        return turned

    async def apply(self, writes: Sequence[Write]) -> Settled:
        await self.road.request("apply")
        settled = await super().apply(writes)
        await self.road.reply("apply")
        return settled

    async def heartbeat(self, session: str, held: Sequence[Lease]) -> Pulse:
        await self.road.request("heartbeat")
        return await super().heartbeat(session, held)

    async def note(self, session: str, items: Sequence[Note]) -> Sequence[Noted | Conflict]:
        await self.road.request("note")
        return await super().note(session, items)


async def die(works: Works, name: str, count: int) -> None:
    """Claim jobs as a worker that then dies without a word, and let its lease end."""
    opened = await works.broker.open(name, 1_000, b"{}")
    await works.broker.claim(opened.session, ["default"], count)


async def suspect(works: Works, type: str, payload: bytes = b"{}", **over: Any) -> str:
    """Store a job that was present at a death and waits to run alone."""
    id = await works.enqueue(type, payload, **over)
    await die(works, f"dead of {id}", 1)
    async with works.worker(name="undertaker", selection=works.nothing):
        await works.until_waiting(id)
    return id
