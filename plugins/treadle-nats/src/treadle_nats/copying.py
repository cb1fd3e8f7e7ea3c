"""A copy of the tables, made by a thread of its own while the log is read on.

SQLite copies some pages at a time, and hands on to the copy what is written to pages that it has already. So
the copy is of the moment at which it is ready, not of that at which it was begun; which message that was
stands in the tables themselves.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from threading import Event
from typing import Final

from treadle_nats import private
from treadle_nats.replica import Replica

_PAGES: Final = 128
"""Half a MiB: reading the log waits for so much at most."""
_BUSY_S: Final = 0.002
_WASTE: Final = 4
"""A copy of which more than one part in so many is unused is packed."""
_STATEMENTS: Final = 10_000


class _Stopped(Exception):
    """Nobody wants the copy any more."""


class Copying:
    """One copy on its way."""

    def __init__(self, replica: Replica, is_late: Callable[[], bool]) -> None:
        """Copy the tables of `replica`; `is_late` tells that it must be done without pauses."""
        self._replica = replica
        self._is_late = is_late
        self._stop = Event()
        self._since = 0.0

    async def into(self, target: sqlite3.Connection) -> int:
        """Write the copy; return the number of the last message that is in it.

        The loop goes on meanwhile. Who is cancelled waits until the thread has let go of the tables.
        """
        loop = asyncio.get_running_loop()
        copying = loop.run_in_executor(None, self._copy, target)
        try:
            return await asyncio.shield(copying)
        except asyncio.CancelledError:
            self._stop.set()
            await asyncio.wait({copying})
            copying.exception()
            raise

    def _copy(self, target: sqlite3.Connection) -> int:
        private.settle(target, journal="OFF")
        target.set_progress_handler(self._stop.is_set, _STATEMENTS)
        self._since = time.monotonic()
        self._replica.connection.raw.backup(
            target, pages=_PAGES, progress=self._pause, sleep=_BUSY_S
        )
        (unused,) = target.execute("PRAGMA freelist_count").fetchone()
        (pages,) = target.execute("PRAGMA page_count").fetchone()
        if unused * _WASTE > pages:
            target.execute("VACUUM")
        return Replica.seq_of(target)

    def _pause(self, _status: int, _left: int, _pages: int) -> None:
        """Leave half of the time to who reads the log, as long as there is time."""
        if self._stop.is_set():
            raise _Stopped
        if not self._is_late():
            self._stop.wait(time.monotonic() - self._since)
        self._since = time.monotonic()
