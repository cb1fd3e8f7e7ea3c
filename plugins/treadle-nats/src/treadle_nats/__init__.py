"""Treadle's broker on NATS JetStream: one log for each namespace, read by every process."""

from __future__ import annotations

from treadle.broker.base import Broker, Clock
from treadle.broker.url import BrokerUrl
from treadle.hooks import hookimpl
from treadle_nats.broker import NatsBroker


@hookimpl
def treadle_broker(url: BrokerUrl, clock: Clock) -> Broker:
    """Make the broker of a `nats://` or `tls://` URL."""
    return NatsBroker(url, clock)


__all__ = ["NatsBroker", "treadle_broker"]
