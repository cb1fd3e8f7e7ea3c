"""A database of SQLite in a temporary file without a name: nobody else opens it, and nothing is left of it.

Its bytes can be read and written beside SQLite: before the first statement, between two transactions, or
after the last.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from pathlib import Path
from typing import BinaryIO

_UNSAFE = """
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA synchronous = OFF;
    PRAGMA temp_store = FILE;
"""
"""Nothing has to outlive the process, and nobody else is there to be locked out."""


def make() -> tuple[sqlite3.Connection, BinaryIO]:
    """Make an empty one; return its connection, for any thread, and its bytes."""
    handle, name = tempfile.mkstemp(prefix="treadle-nats-")
    os.close(handle)
    return adopt(Path(name))


def adopt(path: Path) -> tuple[sqlite3.Connection, BinaryIO]:
    """Take the name from a file that nobody else uses; return the same as `make`."""
    try:
        file = path.open("r+b")
        try:
            raw = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, cached_statements=256
            )
        except BaseException:
            file.close()
            raise
    finally:
        path.unlink()  # the system keeps it until it is closed
    return raw, file


def settle(raw: sqlite3.Connection, *, journal: str) -> None:
    """Give it its settings: the first statement."""
    raw.executescript(f"{_UNSAFE} PRAGMA journal_mode = {journal};")
