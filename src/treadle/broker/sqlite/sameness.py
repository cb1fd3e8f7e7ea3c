"""Notices that the file that is open is no longer the one that its name means.

Somebody may remove it, or put a backup in its place, while it is open. What is written to it from
then on nobody would ever find.
"""

from __future__ import annotations

import errno
import time
from pathlib import Path

from treadle.broker.sqlite.location import Location

_LOOK_EVERY = 0.2


class Sameness:
    """Remembers which files were opened; looks again at most five times a second."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._opened: object = None
        self._looked = 0.0

    def remember(self) -> None:
        """Take the files that are there now for the ones that were opened."""
        self._opened = self._found()

    def check(self) -> None:
        """Notice that a file was removed or replaced.

        Raises:
            OSError: if it was; the connection must be closed and opened again.
        """
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        if self._found() != self._opened:
            raise OSError(errno.ESTALE, "it was removed or replaced while it was open")

    def _found(self) -> object:
        return _identity(self._location.file), _identity(self._location.lock)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
