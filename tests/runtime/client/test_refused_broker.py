"""A broker that promises too little is let go: nothing of it stays open."""

from __future__ import annotations

import pytest

from treadle.broker.base import Durability
from treadle.broker.memory import MemoryBroker
from treadle.broker.url import parse
from treadle.errors import BrokerRefused
from treadle.runtime.client.lane import Lane
from treadle.runtime.clock import BrokerClock, SystemClock

pytestmark = pytest.mark.anyio


class Counted(MemoryBroker):
    """Counts how often it is open."""

    opened = 0

    async def connect(self) -> None:
        """Connect."""
        await super().connect()
        self.opened += 1

    async def disconnect(self) -> None:
        """Disconnect."""
        await super().disconnect()
        self.opened -= 1


async def test_a_broker_that_is_refused_is_disconnected() -> None:
    clock = SystemClock()
    broker = Counted(parse("memory://refused"), clock)
    lane = Lane(
        broker,
        clock=clock,
        broker_clock=BrokerClock(clock),
        timeout_s=5,
        durability=Durability.POWER_LOSS,
    )

    for _ in range(2):
        with pytest.raises(BrokerRefused):
            await lane.broker()

    assert broker.opened == 0
