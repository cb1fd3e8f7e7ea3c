"""What SQLite and the system say, told in our words: no driver exception leaves the broker."""

from __future__ import annotations

import errno
import sqlite3

from treadle.broker.sqlite.location import Location
from treadle.errors import BrokerError, BrokerRefused, BrokerUnavailable

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_FORBIDDEN = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN}
_BROKEN = {sqlite3.SQLITE_IOERR, *_DAMAGED, *_FORBIDDEN}

_ABOVE_ALL = "UPDATE meta SET value = 1000000000000 WHERE name = 'fence'"


class DamagedFence(Exception):
    """The highest fence that was ever given is not known: what stands in its place is no fence."""

    def __init__(self, found: object) -> None:
        super().__init__(f"{found!r:.60}")


def primary_code(error: Exception) -> int:
    """Return SQLite's primary result code; 0 if the error has none."""
    code: int = getattr(error, "sqlite_errorcode", 0) or 0
    return code & 0xFF


def is_full(error: Exception) -> bool:
    """Tell whether there was no room left."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    return primary_code(error) == sqlite3.SQLITE_FULL


def is_undecodable(error: sqlite3.Error) -> bool:
    """Tell whether a text in the file is no UTF-8."""
    return isinstance(error, sqlite3.OperationalError) and "decode to UTF-8" in str(error)


def breaks_connection(error: Exception) -> bool:
    """Tell whether the connection should be opened anew before it is used again."""
    return isinstance(error, OSError) or primary_code(error) in _BROKEN


def translate(error: Exception, location: Location) -> BrokerError:
    """Say what happened to which file, and what to do."""
    file = location.file
    if isinstance(error, DamagedFence):
        return BrokerRefused(
            f"{file} is damaged: its table meta has the fence {error}, so no new job could be told from"
            " an earlier one of its id. Restore it from a backup, or end all programs that use it and set"
            f' a fence above all that were given: sqlite3 {file} "{_ABOVE_ALL}"'
        )
    if is_full(error):
        return BrokerUnavailable(
            f"{file}: no space left ({error}). Nothing was lost: free space, or purge; the write is"
            " tried again"
        )
    if isinstance(error, OSError):
        return BrokerUnavailable(f"{file}: {_system(error)}")
    code = primary_code(error)
    if code in _DAMAGED:
        return BrokerRefused(
            f"{file} is not a usable SQLite database ({error}). Restore it from a backup, or move it"
            " and its -wal and -shm files away to start with an empty one"
        )
    if code in _LOCKED:
        return BrokerUnavailable(
            f"{file} was locked by another program for more than {location.busy_ms} ms."
            " End that program's transaction (a database browser, a backup?)"
        )
    if code in _FORBIDDEN and file.is_dir():
        return BrokerUnavailable(f"{file} is a directory. Name a file in it: {file / 'jobs.db'}")
    if code in _FORBIDDEN:
        return BrokerUnavailable(
            f"{file} cannot be written ({error}). This user needs write permission for the file"
            f" and for its directory {file.parent}"
        )
    name: str = getattr(error, "sqlite_errorname", "") or type(error).__name__
    return BrokerUnavailable(f"{file}: SQLite reports {name}: {error}")


def _system(error: OSError) -> str:
    reason = error.strerror or str(error)
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"{reason}{where}. This user needs write permission for the file and its directory"
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return f"{reason}{where}. Create the directory, or correct the URL"
    return f"{reason}{where}"
