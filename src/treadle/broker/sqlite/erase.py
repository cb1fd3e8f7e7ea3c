"""Removing a store: all its files, while others may still have them open.

Theory of operation. The side lock is held, so nobody writes. The database goes first: from then on
nobody can open it, and only who holds the lock may create a new one. A log that outlives its database
(after a crash half-way) is thrown away by SQLite when the next one is created. The lock goes last, and
is held while it goes: who waited for it finds its file removed and is told so (see `lock`).

Whoever has the files open keeps what has no name any more, notices it (see `sameness`), and opens the
name again: an empty store.
"""

from __future__ import annotations

import shutil
import time

import anyio.to_thread

from treadle.broker.sqlite.location import Location
from treadle.broker.sqlite.lock import SideLock, StaleLock
from treadle.broker.sqlite.trouble import translate
from treadle.broker.sqlite.wake import wake_directory
from treadle.errors import BrokerUnavailable

_LOOK_EVERY = 0.01


async def erase_files(location: Location) -> None:
    """Remove the files of a store, in an order in which a crash leaves nothing that confuses.

    Raises:
        BrokerUnavailable: if somebody keeps the lock, or the system does not let us.
    """
    await anyio.to_thread.run_sync(_erase, location)


def _erase(location: Location) -> None:
    lock = SideLock(location.lock)
    end = time.monotonic() + location.busy_ms / 1_000
    try:
        while not _take(lock):
            if time.monotonic() >= end:
                raise BrokerUnavailable(
                    f"{location.file} is being written by another process for more than"
                    f" {location.busy_ms} ms: it was not erased"
                )
            time.sleep(_LOOK_EVERY)
        _remove(location)
    except FileNotFoundError:
        return  # not even its directory is there
    except OSError as error:
        raise translate(error, location) from error
    finally:
        lock.close()


def _take(lock: SideLock) -> bool:
    try:
        return lock.try_acquire()
    except StaleLock:
        return False  # somebody else has just erased it


def _remove(location: Location) -> None:
    sockets = wake_directory(location, create=False)
    for path in (location.file, location.wal, location.beside("-shm"), location.beside("-journal")):
        path.unlink(missing_ok=True)
    if sockets is not None:
        shutil.rmtree(sockets, ignore_errors=True)
    location.lock.unlink(missing_ok=True)
