"""The SQLite broker: the default, embedded, durable, for all processes of one machine."""

from __future__ import annotations

import pluggy

from treadle.broker.base import Broker, Clock
from treadle.broker.sqlite.broker import SqliteBroker
from treadle.broker.url import BrokerUrl

hookimpl = pluggy.HookimplMarker("treadle")


@hookimpl
def treadle_broker(url: BrokerUrl, clock: Clock) -> Broker:
    """Make the broker of a `sqlite://` URL."""
    return SqliteBroker(url, clock)


__all__ = ["SqliteBroker", "treadle_broker"]
