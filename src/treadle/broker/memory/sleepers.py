"""Who sleeps until something happens, and how they are woken from any thread.

A sleeper is registered in the same locked step that found nothing for it, so whatever comes
after that step rings its bell: no wake-up is lost. Everybody concerned is woken, and finds out alone
whether there is anything left; so a sleeper that was cancelled takes no wake-up with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from treadle.broker.loop import LoopHandle


class Bell:
    """Wakes one sleeping call, on whatever loop it sleeps; rings once."""

    __slots__ = ("_loop", "_rung", "event", "names")

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.event = anyio.Event()
        self._loop = LoopHandle()
        self._rung = False

    def ring(self) -> None:
        """Wake the call; from any thread. A loop that has ended has nobody to wake."""
        if not self._rung:
            self._rung = True
            self._loop.post(self.event.set)


class Sleepers:
    """Bells under the names of what they wait for."""

    __slots__ = ("bells",)

    def __init__(self) -> None:
        self.bells: dict[str, dict[Bell, None]] = {}

    def add(self, bell: Bell) -> None:
        """Ring `bell` when something happens to one of its names."""
        for name in bell.names:
            self.bells.setdefault(name, {})[bell] = None

    def remove(self, bell: Bell) -> None:
        """Forget a bell, whether it rang or not."""
        for name in bell.names:
            bells = self.bells.get(name)
            if bells is not None:
                bells.pop(bell, None)
                if not bells:
                    del self.bells[name]

    def wake(self, name: str) -> None:
        """Ring all bells under a name."""
        for bell in self.bells.pop(name, ()):
            bell.ring()

    def wake_all(self) -> None:
        """Ring all bells."""
        for name in list(self.bells):
            self.wake(name)
