"""A client that nobody closes: its loop disconnects it at its end, and no garbage collector before."""

from __future__ import annotations

import asyncio
import gc
import weakref
from random import Random

import anyio
import pytest

from treadle.broker.memory import MemoryBroker
from treadle.broker.url import parse
from treadle.domain.job import Job
from treadle.runtime.client import Client, plain_json
from treadle.runtime.clock import SystemClock


class Noting(MemoryBroker):
    """The memory broker, noting when it is disconnected."""

    disconnects = 0

    async def disconnect(self) -> None:
        """Disconnect."""
        self.disconnects += 1
        await super().disconnect()


def make_broker() -> Noting:
    """Make one with a store of its own."""
    return Noting(parse("memory://"), SystemClock(), None)


async def use_and_drop(broker: Noting) -> None:
    """Enqueue through a client that is gone afterwards."""
    client = Client(lambda: broker, clock=SystemClock(), rng=Random(0), decode=plain_json)
    await client.enqueue([Job(id="a", type="t")])


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_client_that_is_dropped_is_disconnected_when_its_loop_ends(backend: str) -> None:
    broker = make_broker()

    async def main() -> int:
        await use_and_drop(broker)
        gc.collect()
        await anyio.lowlevel.checkpoint()
        return broker.disconnects

    assert anyio.run(main, backend=backend) == 0
    assert broker.disconnects == 1


def test_a_client_that_is_dropped_does_not_keep_its_loop() -> None:
    async def main() -> weakref.ref[asyncio.AbstractEventLoop]:
        await use_and_drop(make_broker())
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(main())
    gc.collect()

    assert loop() is None
