"""One simulated process: it has a wall clock of its own, and can be stopped or killed at any step."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import anyio

from treadle.testing.virtual import EPOCH_MS, Step, give_back


class Life(Enum):
    """How a machine is."""

    RUNS = "runs"
    STANDS_STILL = "stands still"
    """Stopped (as by SIGSTOP): it takes no step until it goes on."""
    DEAD = "dead"
    GHOST = "ghost"
    """Dead, and the run is over: its tasks come to an end, and nothing hears them."""


def _nothing() -> None:
    """Tell nobody."""


class Machine:
    """The process that a worker or a producer is: tasks started in its name are its own.

    On asyncio it stops between any two steps of its tasks. On trio, which lets nobody hold a task back,
    it stops at the calls that it makes to the broker.
    """

    def __init__(self, name: str, now: Callable[[], float], *, held_by_loop: bool = True) -> None:
        self.name = name
        self._held_by_loop = held_by_loop
        """Its tasks stand still by themselves when it dies; else they are cancelled."""
        self.life = Life.RUNS
        self.scope = anyio.CancelScope()
        self.over = anyio.Event()
        """Set when it has died or its program has ended."""
        self.skew_ms = 0
        self.steps_to_live: int | None = None
        self.calls_to_live: int | None = None
        self.on_death: Callable[[], None] = _nothing
        self._goes_on = anyio.Event()
        self._kept: list[Step] = []
        self._now = now

    def time_ms(self) -> int:
        """Return its wall clock, which may be wrong and may jump."""
        return EPOCH_MS + self.skew_ms + round(self._now() * 1000)

    def monotonic(self) -> float:
        """Return its monotonic clock."""
        return self._now()

    def admits(self, step: Step) -> bool:
        """Let the loop take the step if this process runs; keep it if not."""
        if self.life is Life.RUNS:
            left = self.steps_to_live
            if left is None:
                return True
            self.steps_to_live = left - 1
            if left > 0:
                return True
            self.kill()
        elif self.life is Life.GHOST:
            return True
        self._kept.append(step)
        return False

    def kill(self) -> None:
        """Die now: no further step is taken, no cleanup runs, no call leaves."""
        if self.life in (Life.DEAD, Life.GHOST):
            return
        self.life = Life.DEAD
        self.on_death()
        self.over.set()
        if not self._held_by_loop:
            self.scope.cancel()

    def stop(self) -> None:
        """Stand still."""
        if self.life is Life.RUNS:
            self.life = Life.STANDS_STILL
            self._goes_on = anyio.Event()

    def go_on(self) -> None:
        """Go on where it stood still."""
        if self.life is Life.STANDS_STILL:
            self.life = Life.RUNS
            self._release()

    def vanish(self) -> None:
        """Let the tasks of a machine come to an end, when the run is over."""
        self.life = Life.GHOST
        self.scope.cancel()
        self._release()

    def _release(self) -> None:
        self._goes_on.set()
        kept, self._kept = self._kept, []
        if kept:
            give_back(kept)

    async def before_call(self) -> None:
        """Return when a call may leave; never, for a dead machine."""
        if self.calls_to_live is not None:
            self.calls_to_live -= 1
            if self.calls_to_live <= 0 and self.life is Life.RUNS:
                self.kill()
        await self.after_call()

    async def after_call(self) -> None:
        """Return when a reply may be seen; never, for a dead machine."""
        while self.life is not Life.RUNS:
            if self.life is Life.STANDS_STILL:
                await self._goes_on.wait()
            else:
                await anyio.sleep_forever()
