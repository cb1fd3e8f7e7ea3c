"""What LMDB asks of the processes that use it.

A file must be open once in a process, must not be taken into a fork, and its writers wait for each
other without end. So all storages of a process share one `Environment` for each folder; it is closed
around forks, and has a lock of its own in front of LMDB's: who waits for it gives up.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

import lmdb

from treadle.errors import BrokerUnavailable

_LOCK_S: Final = 10.0


class Environment:
    """The LMDB file of a folder, for all of this process; one transaction at a time."""

    def __init__(self, folder: Path, size: int) -> None:
        self.users = 0
        self.thread = threading.Lock()
        """Held by the thread that has the one transaction of this process."""
        self.folder = folder
        self._size = size
        self._lmdb: lmdb.Environment | None = None
        self._writers = -1

    @contextmanager
    def transaction(self, *, write: bool) -> Generator[lmdb.Transaction[bytes]]:
        """Give a transaction: committed at the end of the block, dropped if the block raises."""
        until = time.monotonic() + _LOCK_S
        if not self.thread.acquire(timeout=_LOCK_S):
            raise BrokerUnavailable(f"{self.folder} is locked by another thread")
        try:
            opened = self._opened()
            alone = self._writer(until) if write else nullcontext()
            with alone, opened.begin(write=write) as transaction:
                yield transaction
        except (lmdb.MapFullError, lmdb.ReadersFullError):
            self._opened().reader_check()  # readers that were killed hold on to pages and places
            raise
        finally:
            self.thread.release()

    def used(self) -> float:
        """Return how much of the room is used, up to 1.0; inside of a transaction only."""
        stat = self._opened().stat()
        pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        return pages * stat["psize"] / self._size

    def close(self) -> None:
        """Release the file; the next transaction opens it again."""
        if self._lmdb is not None:
            self._lmdb.close()
        if self._writers >= 0:
            os.close(self._writers)
        self._lmdb, self._writers = None, -1

    def _opened(self) -> lmdb.Environment:
        if self._lmdb is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            path, flags = str(self.folder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            if self._writers < 0:
                self._writers = os.open(f"{path}/writers.lock", flags, 0o600)
            self._lmdb = lmdb.open(path, map_size=self._size, mode=0o600, max_readers=1024)
            self._lmdb.reader_check()
        return self._lmdb

    @contextmanager
    def _writer(self, until: float) -> Generator[None]:
        """Hold the lock of the processes. It ends with its process, and no fork inherits it."""
        while True:
            try:
                fcntl.lockf(self._writers, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError):
                if time.monotonic() > until:
                    raise BrokerUnavailable(f"{self.folder} is locked by a process") from None
                time.sleep(0.001)
        try:
            yield
        finally:
            fcntl.lockf(self._writers, fcntl.LOCK_UN)


class Registry:
    """The environments of this process, by their folders."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: dict[Path, Environment] = {}
        self._held: list[Environment] = []
        after = self._go_on
        os.register_at_fork(before=self._stop, after_in_parent=after, after_in_child=after)

    def take(self, folder: Path, size: int) -> Environment:
        """Return the environment of a folder for one more user."""
        with self._lock:
            environment = self._all.setdefault(folder, Environment(folder, size))
            environment.users += 1
            return environment

    def give_back(self, environment: Environment) -> None:
        """Note that one user needs it no longer; the last one closes it."""
        with self._lock:
            environment.users -= 1
            if environment.users == 0:
                del self._all[environment.folder]
                environment.close()

    def _stop(self) -> None:
        """Let no transaction begin, and close every file: a fork takes none of them along."""
        self._lock.acquire()
        self._held = [one for one in self._all.values() if one.thread.acquire(timeout=_LOCK_S)]
        for environment in self._held:
            environment.close()

    def _go_on(self) -> None:
        for environment in self._held:
            environment.thread.release()
        self._lock.release()
