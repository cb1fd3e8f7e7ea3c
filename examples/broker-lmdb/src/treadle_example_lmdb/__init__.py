"""A broker plugin: `lmdb:///folder` keeps jobs in an LMDB file in that folder."""

from __future__ import annotations

from treadle import hookimpl
from treadle.broker.base import Broker, Clock
from treadle.broker.url import BrokerUrl
from treadle_example_lmdb.broker import LmdbBroker


@hookimpl
def treadle_broker(url: BrokerUrl, clock: Clock) -> Broker:
    """Make the broker of an `lmdb://` URL; it must not connect yet."""
    return LmdbBroker(url, clock)
