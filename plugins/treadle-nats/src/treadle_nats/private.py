"""A database of SQLite in a temporary file without a name: nobody else opens it, and nothing is left of it.

Its bytes can be read and written beside SQLite: before the first statement, or after the last.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
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
    try:
        file = open(handle, "r+b")  # noqa: PTH123, SIM115 - it is open already; the caller closes it
        try:
            raw = sqlite3.connect(
                name, isolation_level=None, check_same_thread=False, cached_statements=256
            )
        except BaseException:
            file.close()
            raise
    finally:
        os.unlink(name)  # noqa: PTH108 - the system keeps it until it is closed
    return raw, file


def settle(raw: sqlite3.Connection, *, journal: str) -> None:
    """Give it its settings: the first statement."""
    raw.executescript(f"{_UNSAFE} PRAGMA journal_mode = {journal};")
