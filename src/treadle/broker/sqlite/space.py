"""Room on the disk: new jobs are refused while there is still enough to finish the running ones."""

from __future__ import annotations

import os
import time

from treadle.broker.sqlite.connection import Connection
from treadle.broker.sqlite.location import Location

_RESERVE = 32 * 1024 * 1024
_LOOK_EVERY = 0.1


class Space:
    """Looks at the file system and at the file's own limit, at most ten times a second."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._looked = 0.0
        self._shortage: str | None = None

    def shortage(self, connection: Connection) -> str | None:
        """Say why nothing should be added to the file now; None if there is room."""
        if self._location.max_pages:
            shortage = self._pages(connection)
            if shortage is not None:
                return shortage
        now = time.monotonic()
        if now - self._looked >= _LOOK_EVERY:
            self._looked = now
            self._shortage = self._disk()
        return self._shortage

    def _pages(self, connection: Connection) -> str | None:
        used: int = connection.rows("PRAGMA page_count")[0][0]
        free: int = connection.rows("PRAGMA freelist_count")[0][0]
        most = self._location.max_pages
        if used - free < most * 9 // 10:
            return None
        return f"{self._location.file} uses {used - free} of {most} pages; the rest is for running jobs"

    def _disk(self) -> str | None:
        """Keep 32 MiB, or a twentieth of a small disk, for the jobs that run."""
        try:
            disk = os.statvfs(self._location.file.parent)
        except (OSError, AttributeError):
            return None
        free = disk.f_bavail * disk.f_frsize
        reserve = min(_RESERVE, disk.f_blocks * disk.f_frsize // 20)
        if free >= reserve:
            return None
        return (
            f"the disk of {self._location.file} has {free // 1024} KiB left;"
            f" the last {reserve // 1024} KiB are for running jobs"
        )
