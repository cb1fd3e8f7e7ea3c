"""Time: the only file that reads a clock.

Wall time is for people and for stores without a clock of their own. What decides about jobs is
`BrokerClock`: the broker's time as of its last reply, plus monotonic time elapsed here.
"""

from __future__ import annotations

import time

from treadle.broker.base import Clock

wall_ns = time.time_ns
"""Nanoseconds since the Unix epoch; it may jump."""


class SystemClock:
    """The clock of this machine."""

    __slots__ = ()

    def time_ms(self) -> int:
        """Return wall-clock time in ms since the Unix epoch; it may jump."""
        return wall_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()


class BrokerClock:
    """The broker's time, as well as it is known between two replies.

    A wall clock that is wrong by a day changes nothing once a broker has answered; until then
    `now_ms` is the wall clock. May be used from any thread.
    """

    __slots__ = ("_clock", "_known")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # One tuple, replaced as a whole: another thread never sees half of it.
        self._known = (clock.time_ms(), clock.monotonic())

    def sync(self, now_ms: int) -> None:
        """Take the time that a reply of the broker carries."""
        self._known = (now_ms, self._clock.monotonic())

    def now_ms(self) -> int:
        """Return broker time in ms since the Unix epoch."""
        then_ms, at = self._known
        return then_ms + int((self._clock.monotonic() - at) * 1000)
