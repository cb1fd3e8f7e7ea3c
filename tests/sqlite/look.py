"""What tests do with the file itself, beside the broker."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import anyio.to_thread

from treadle.conformance.hand import change
from treadle.domain.job import Record
from treadle.domain.outcome import Change, Succeeded

STATES = ("blocked", "waiting", "running", "succeeded", "dead", "cancelled")

Rows = list[tuple[object, ...]]


def success(record: Record) -> Change:
    """Decide that a claimed job succeeded at once."""
    return change(record, Succeeded(), record.head.claimed)


def run(file: Path, sql: str, parameters: Sequence[object] = ()) -> Rows:
    """Run a statement in a connection of its own and commit it."""
    with closing(sqlite3.connect(file, timeout=300)) as connection, connection:
        return connection.execute(sql, parameters).fetchall()


async def on(file: Path, sql: str, parameters: Sequence[object] = ()) -> Rows:
    """Do the same without blocking the loop."""
    return await anyio.to_thread.run_sync(run, file, sql, parameters)


def scanned(file: Path) -> dict[str, tuple[int, ...]]:
    """Count the jobs of each queue and state by reading all of them."""
    rows = run(
        file,
        """
        SELECT queue.name, job.state, count(*) FROM job JOIN queue ON queue.id = job.queue
        WHERE job.state < 10 GROUP BY 1, 2
        """,
    )
    found = {(str(name), state): count for name, state, count in rows}
    names = {str(row[0]) for row in run(file, "SELECT name FROM queue")}
    return {
        name: tuple(int(str(found.get((name, state), 0))) for state in range(6)) for name in names
    }


def counted(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the counts that the broker keeps."""
    rows = run(file, f"SELECT name, {', '.join(STATES)} FROM queue")  # noqa: S608 # names of ours
    return {str(name): tuple(int(str(count)) for count in counts) for name, *counts in rows}


def is_sound(file: Path) -> bool:
    """Tell whether SQLite finds nothing wrong with the file."""
    return run(file, "PRAGMA integrity_check") == [("ok",)]
