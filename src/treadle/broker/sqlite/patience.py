"""A wait that has no end of its own gets one: flock knows no timeout."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Condition, Thread


class Patience:
    """Calls `give_up` each time that a wait has lasted `seconds`. One lazy thread, asleep but for that."""

    def __init__(self, seconds: float, give_up: Callable[[], None]) -> None:
        self._seconds = seconds
        self._give_up = give_up
        self._change = Condition()
        self._since: float | None = None
        self._thread: Thread | None = None
        self._is_idle = False

    def begin(self) -> None:
        """Begin to wait."""
        with self._change:
            self._since = time.monotonic()
            if self._thread is None:
                self._thread = Thread(target=self._watch, name="treadle-sqlite-lock", daemon=True)
                self._thread.start()
            elif self._is_idle:
                self._change.notify()

    def stop(self) -> None:
        """End the wait."""
        with self._change:
            self._since = None

    def end(self) -> None:
        """Let the thread end; it begins anew when it is needed."""
        with self._change:
            self._thread = None
            self._since = None
            self._change.notify()

    def _watch(self) -> None:
        me = self._thread
        while True:
            with self._change:
                if self._thread is not me:
                    return
                if self._since is None:
                    self._is_idle = True
                    self._change.wait()
                    self._is_idle = False
                    continue
                left = self._since + self._seconds - time.monotonic()
                if left > 0:
                    self._change.wait(left)
                    continue
                self._since = time.monotonic()
            self._give_up()
