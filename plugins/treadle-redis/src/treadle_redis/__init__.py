"""The broker for Redis and Valkey: jobs in one server that many machines share."""

from __future__ import annotations

import pluggy

from treadle.broker.base import Broker, Clock
from treadle.broker.url import BrokerUrl
from treadle_redis.broker import RedisBroker

hookimpl = pluggy.HookimplMarker("treadle")


@hookimpl
def treadle_broker(url: BrokerUrl, clock: Clock) -> Broker:
    """Make the broker of a URL of one of our schemes; the server's clock rules."""
    return RedisBroker(url, clock)


__all__ = ["RedisBroker", "treadle_broker"]
