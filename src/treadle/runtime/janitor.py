"""Applies retention: drops final records whose time is over, a chunk at a time."""

from __future__ import annotations

import anyio

from treadle.broker.base import Broker
from treadle.domain.retry import Rng
from treadle.errors import BrokerError
from treadle.runtime.backoff import Backoff

_CHUNK = 1_000


class Janitor:
    """Purges every `each_ms`, at jittered times; any number of janitors may work at once."""

    def __init__(self, broker: Broker, *, rng: Rng, each_ms: int) -> None:
        self._broker = broker
        self._rng = rng
        self._each = each_ms / 1000
        self._backoff = Backoff(rng, "purge")

    async def run(self) -> None:
        """Purge until cancelled."""
        while True:
            await anyio.sleep(self._each * (0.5 + self._rng.random()))
            try:
                while await self._broker.purge(_CHUNK) >= _CHUNK:
                    await anyio.lowlevel.checkpoint()
                self._backoff.worked()
            except BrokerError as error:
                await self._backoff.failed(error)
