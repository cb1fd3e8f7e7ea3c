"""Retention: final records past their time go, in small transactions, and the file shrinks."""

from __future__ import annotations

import sqlite3

from treadle.broker.sqlite import sessions
from treadle.broker.sqlite.connection import Connection, Row
from treadle.broker.sqlite.removal import forget_all, remove_all
from treadle.broker.sqlite.rows import BODY, FINISHED, FORGOTTEN, STATE, is_sound, mend
from treadle.broker.sqlite.statements import load
from treadle.broker.sqlite.transaction import Transaction
from treadle.domain.codec import Body
from treadle.domain.job import DEFAULT_POLICY
from treadle.domain.limits import EVENTS_KEPT

_SQL = load("purge")
CHUNK = 1_000
"""So many records one transaction drops: others wait for it a few milliseconds."""
_SHRINK_FROM = 1_000
_SHRINK_BY = 1_000


def purge(tx: Transaction, limit: int) -> tuple[int, bool]:
    """Drop up to `limit` records past their time; tell how many, and whether there may be more."""
    rows = tx.rows(_SQL["past"], (tx.now, limit))
    finals = [row if is_sound(row) else mend(row) for row in rows if not _is_memory(row)]
    remove_all(tx, [(row, (row[FINISHED] or 0) + _remember_ms(tx, row)) for row in finals])
    forget_all(tx, [row for row in rows if _is_memory(row)])
    return len(finals), len(rows) == limit


def tidy(tx: Transaction) -> None:
    """Drop old sessions and what the event log no longer promises."""
    sessions.purge(tx)
    row = tx.one(_SQL["newest_event"])
    if row is not None:
        tx.run(_SQL["trim_events"], (row[0] - EVENTS_KEPT,))


def shrink(connection: Connection) -> None:
    """Give free pages back to the system, and move the log into the file; between transactions."""
    if connection.rows("PRAGMA freelist_count")[0][0] > _SHRINK_FROM:
        # One `execute` would free one page only: it stops after the first row.
        connection.raw.executescript(f"PRAGMA incremental_vacuum({_SHRINK_BY})")
    try:
        connection.rows("PRAGMA wal_checkpoint(PASSIVE)")
    except sqlite3.OperationalError:
        return  # a reader is in the way: the next one does it


def _is_memory(row: Row) -> bool:
    return type(row[STATE]) is int and row[STATE] >= FORGOTTEN


def _remember_ms(tx: Transaction, row: Row) -> int:
    body = tx.codec.decode(row[BODY])
    policy = body.policy if isinstance(body, Body) else DEFAULT_POLICY
    return policy.remember_ms
