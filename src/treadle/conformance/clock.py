"""A clock that stands still until somebody moves it."""

from __future__ import annotations

import time

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
START = 1_700_000_000_000


class MovableClock:
    """Wall clock and monotonic clock of a broker, moved by hand or running with the real one."""

    def __init__(self, start_ms: int = START) -> None:
        self._wall_ms = start_ms
        self._steady_ms = 0
        self._since: float | None = None

    def time_ms(self) -> int:
        """Return wall-clock time in ms since the Unix epoch."""
        return self._wall_ms + self._ran_ms()

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return (self._steady_ms + self._ran_ms()) / 1_000

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self._wall_ms += ms
        self._steady_ms += ms

    def jump(self, ms: int) -> None:
        """Set the wall clock; no time passes."""
        self._wall_ms += ms

    def run(self) -> None:
        """Let time pass by itself from now on, as fast as it does outside."""
        if self._since is None:
            self._since = time.monotonic()

    def _ran_ms(self) -> int:
        return 0 if self._since is None else int((time.monotonic() - self._since) * 1_000)
