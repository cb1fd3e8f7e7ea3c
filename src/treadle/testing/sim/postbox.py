"""Things that happen later, on behalf of nobody: messages that arrive, a broker that comes back.

asyncio has timers for that. trio has none without a task, so there one task calls what is due.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

import anyio

from treadle.testing.virtual import timers


class Postbox:
    """Calls functions when their time has come; what is due together keeps its order, or chance says."""

    def __init__(self) -> None:
        self.now: Callable[[], float] = anyio.current_time
        """Virtual time in seconds; may be asked outside of tasks too."""
        self._call_later: Callable[[float, Callable[[], None]], object] = self._keep
        native = timers()
        if native is not None:
            self.now, self._call_later = native
        self._letters: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._sooner = anyio.Event()
        self._looks_at = 0.0

    def post(self, delay_s: float, function: Callable[[], None]) -> None:
        """Call `function` after `delay_s` seconds."""
        self._call_later(delay_s, function)

    def _keep(self, delay_s: float, function: Callable[[], None]) -> None:
        at = self.now() + delay_s
        heapq.heappush(self._letters, (at, next(self._numbers), function))
        if at < self._looks_at:
            self._looks_at = at
            self._sooner.set()

    async def run(self) -> None:
        """Call what is due, until cancelled; where the loop has timers of its own, only wait."""
        letters = self._letters
        while True:
            now = self.now()
            while letters and letters[0][0] <= now:
                heapq.heappop(letters)[2]()
            self._sooner = anyio.Event()
            self._looks_at = letters[0][0] if letters else float("inf")
            with anyio.CancelScope(deadline=self._looks_at):
                await self._sooner.wait()
