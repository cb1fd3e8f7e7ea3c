"""Runs programs on a thread that can be given up: a broker that blocks its loop ends nothing else."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from queue import Empty, SimpleQueue

import anyio

Work = Callable[[], Awaitable[None]]


LOOK_S = 0.25


class Stuck(Exception):
    """The thread does not come back."""


class Bench:
    """One thread that runs what it is given, each on an event loop of its own."""

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._todo: SimpleQueue[Work | None] = SimpleQueue()
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, daemon=True, name="treadle-programs")
        self._thread.start()

    def run(self, work: Work, is_late: Callable[[], bool]) -> BaseException | None:
        """Run `work`; return what it raised. Now and then `is_late` is asked.

        Raises:
            Stuck: if it was late; the bench cannot be used any more.
        """
        self._todo.put(work)
        while True:
            try:
                return self._done.get(timeout=LOOK_S)
            except Empty:
                if is_late():
                    raise Stuck from None

    def end(self) -> None:
        """Let the thread end."""
        self._todo.put(None)

    def _serve(self) -> None:
        while (work := self._todo.get()) is not None:
            try:
                anyio.run(work, backend=self._backend)
            except BaseException as error:  # noqa: BLE001 # whoever asked gets it
                self._done.put(error)
            else:
                self._done.put(None)
