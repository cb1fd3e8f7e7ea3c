"""The memory broker: the reference of what every other one must do, and the fake of all tests."""

from __future__ import annotations

from treadle.broker.base import Broker, Clock
from treadle.broker.memory.broker import MemoryBroker
from treadle.broker.url import BrokerUrl
from treadle.hooks import hookimpl


@hookimpl
def treadle_broker(url: BrokerUrl, clock: Clock) -> Broker:
    """Make the broker of a `memory://` URL."""
    return MemoryBroker(url, clock)


__all__ = ["MemoryBroker", "treadle_broker"]
