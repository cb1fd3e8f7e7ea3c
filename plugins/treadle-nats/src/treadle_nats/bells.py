"""Who waits for something to happen, and how they are woken from the thread that reads the log."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

import anyio

from treadle.broker.loop import LoopHandle

EVENTS = "\0events"
"""The name under which readers of the event log wait; no queue is called so."""


class Bell:
    """Wakes one waiting call; it may ring again."""

    __slots__ = ("_loop", "event", "names")

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        self.event = anyio.Event()
        self._loop = LoopHandle()

    def ring(self) -> None:
        """Wake the call, from any thread."""
        self._loop.post(self._set)

    def _set(self) -> None:
        self.event.set()


class Bells:
    """All bells of one log."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._bells: set[Bell] = set()

    def add(self, bell: Bell) -> None:
        """Ring `bell` from now on."""
        with self._lock:
            self._bells.add(bell)

    def remove(self, bell: Bell) -> None:
        """Ring it no more."""
        with self._lock:
            self._bells.discard(bell)

    def ring(self, names: Iterable[str] | None) -> None:
        """Ring the bells of some names, or all of them."""
        with self._lock:
            bells = list(self._bells)
        wanted = None if names is None else frozenset(names)
        for bell in bells:
            if wanted is None or not bell.names.isdisjoint(wanted):
                bell.ring()
