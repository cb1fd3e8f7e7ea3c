"""How a worker comes back to a broker that is away: full jitter, 0.05 to 2 s."""

from __future__ import annotations

import logging

import anyio

from treadle.domain.retry import Exponential, Jitter, Rng, delay_ms
from treadle.errors import BrokerError

logger = logging.getLogger("treadle.broker")

_POLICY = Exponential(base_ms=50, cap_ms=2_000, jitter=Jitter.FULL)
_FIRST_MS = 50
_LOG_EACH_S = 60.0


class Backoff:
    """Waits longer after each failure; says so at once and then once a minute."""

    def __init__(self, rng: Rng, duty: str) -> None:
        self._rng = rng
        self._duty = duty
        self._failures = 0
        self._logged: float | None = None

    @property
    def failing(self) -> bool:
        """Tell whether the last call failed."""
        return self._failures > 0

    async def failed(self, error: BrokerError) -> None:
        """Log the failure and wait before the next try."""
        now = anyio.current_time()
        if self._logged is None or now - self._logged >= _LOG_EACH_S:
            self._logged = now
            logger.warning("broker_away", extra={"duty": self._duty, "error": str(error)})
        delay = max(delay_ms(_POLICY, self._failures, 0, self._rng), _FIRST_MS)
        self._failures += 1
        await anyio.sleep(delay / 1000)

    def worked(self) -> bool:
        """Note that a call worked; return True if the one before had failed."""
        if not self._failures:
            return False
        self._failures = 0
        self._logged = None
        logger.info("broker_back", extra={"duty": self._duty})
        return True
