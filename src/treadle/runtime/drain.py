"""When a worker shall stop, and what of that other threads may know before its loop does."""

from __future__ import annotations

from collections.abc import Callable

import anyio


def _nothing() -> None:
    """Halt nobody: no shift has begun."""


class DrainOrder:
    """When to stop, and how long running attempts may go on.

    Whoever wants a drain calls `announce`, which other threads see at once, and then `ask` on the loop.
    """

    def __init__(self, grace_ms: int) -> None:
        self.grace_ms = grace_ms
        self.closed = anyio.Event()
        """Set when everything is handed back and settled: what still runs, runs for nothing."""
        self.asked = anyio.Event()
        self.again = anyio.Event()
        self._ends: list[float] = []
        self.halt: Callable[[], None] = _nothing
        """Lets no further job start, at once; callable from any thread."""

    def announce(self, now: float, grace_ms: int | None) -> None:
        """Say that a drain is asked for; called before `ask`, from any thread.

        A second signal may come in the middle of the first one's call: a list forgets neither.
        """
        grace_ms = self.grace_ms if grace_ms is None else min(grace_ms, self.grace_ms)
        self._ends.append(now + grace_ms / 1000)
        self.halt()

    @property
    def ends(self) -> float | None:
        """Return the monotonic instant at which the grace period ends, if a drain was asked for."""
        return min(self._ends, default=None)

    def ask(self, grace_ms: int | None) -> None:
        """Ask for a drain; a later call can only shorten the grace period."""
        if grace_ms is not None:
            self.grace_ms = min(self.grace_ms, grace_ms)
        if self.asked.is_set():
            self.again.set()
        self.asked.set()
