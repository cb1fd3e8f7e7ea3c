"""What the live file says about itself."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from treadle.broker.sqlite.connection import Connection
from treadle.broker.sqlite.location import Location, refuse_network
from treadle.broker.sqlite.lock import HAS_FLOCK
from treadle.broker.sqlite.wake import HAS_SOCKETS
from treadle.broker.values import Description, Durability

_RESET_FIXED = (3, 51, 3)
_LEVELS = {
    0: Durability.NONE,
    1: Durability.PROCESS,
    2: Durability.POWER_LOSS,
    3: Durability.POWER_LOSS,
}


def describe(connection: Connection, location: Location) -> Description:
    """Read the settings that hold for the writing connection now."""
    level = _pragma(connection, "synchronous")
    mode = _pragma(connection, "journal_mode")
    durability = _LEVELS.get(int(level), Durability.NONE) if mode == "wal" else Durability.NONE
    page_size, pages, free = (
        int(_pragma(connection, name)) for name in ("page_size", "page_count", "freelist_count")
    )
    detail = (
        ("file", str(location.file)),
        ("file size", str(page_size * pages)),
        ("free in the file", str(page_size * free)),
        ("log size", str(_size(location.wal))),
        ("journal_mode", mode),
        ("synchronous", level),
        ("schema", _pragma(connection, "user_version")),
        ("auto_vacuum", _pragma(connection, "auto_vacuum")),
        ("lock", "flock" if HAS_FLOCK else "SQLite's own"),
        ("wake-up", "datagram sockets" if HAS_SOCKETS else "polling"),
    )
    return Description(
        name="sqlite",
        version=f"SQLite {sqlite3.sqlite_version}",
        durability=durability,
        detail=detail,
        warnings=tuple(_warnings(location, durability)),
    )


def _warnings(location: Location, durability: Durability) -> list[str]:
    found: list[str] = []
    shared = refuse_network(location)
    if shared is not None:
        found.append(shared)
    if durability is not location.durability:
        found.append(f"durability is {durability}, although {location.durability} was asked for")
    if sqlite3.sqlite_version_info < _RESET_FIXED and not HAS_FLOCK:
        found.append(
            f"SQLite {sqlite3.sqlite_version} may damage a file that several processes write at once, and"
            " there is no flock here to keep them apart: use 3.51.3 or newer, or one process"
        )
    return found


def _pragma(connection: Connection, name: str) -> str:
    return str(connection.rows(f"PRAGMA {name}")[0][0])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
