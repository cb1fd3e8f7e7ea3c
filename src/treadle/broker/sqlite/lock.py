"""The side lock: one writer at a time over all processes, and nobody starves.

SQLite's own busy handler sleeps longer the longer it has waited, so that under load one process can
wait for seconds. A lock on a file beside the database wakes the next writer at once. It is held
around each write transaction, checkpoint and close of a connection; that also keeps two
processes from checkpointing and committing in the same instant, which SQLite before 3.51.3 does not
survive in every case.

It must be a file of its own: opening and closing the database itself would drop the locks that
SQLite holds on it in this process. Where there is no flock (Windows), SQLite's own locks remain.

The lock file is removed only by who holds its lock (see `erase`). Who gets the lock of a file that has
no name any more has locked nothing that others would meet, so that is an error.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

HAS_FLOCK = sys.platform != "win32"

if sys.platform != "win32":
    import fcntl


class StaleLock(OSError):
    """The lock file was removed while it was open: the store was erased."""

    def __init__(self) -> None:
        super().__init__(errno.ESTALE, "it was removed or replaced while it was open")


class SideLock:
    """An exclusive lock on a file. Locks of two objects exclude each other, in one process too."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def try_acquire(self) -> bool:
        """Take the lock if it is free.

        Raises:
            StaleLock: if the file was removed meanwhile; the next try makes a new one.
            OSError: if the file cannot be opened.
        """
        if sys.platform != "win32":
            self._open()
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._refuse_stale()
        return True

    def acquire(self) -> None:
        """Wait for the lock, however long that takes.

        Raises:
            StaleLock: if the file was removed meanwhile; the next try makes a new one.
            OSError: if the file cannot be opened.
        """
        if sys.platform != "win32":
            self._open()
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._refuse_stale()

    def release(self) -> None:
        """Let the next one write."""
        if sys.platform != "win32" and self._file >= 0:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the file back; a lock that is held ends."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        if self._file < 0:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _refuse_stale(self) -> None:
        if os.fstat(self._file).st_nlink == 0:
            self.close()
            raise StaleLock
