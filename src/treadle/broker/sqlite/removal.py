"""Removing a final record with all that belongs to it, and remembering its id for a while."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.broker.sqlite.connection import Row
from treadle.broker.sqlite.rows import FENCE, FORGOTTEN, ID, QUEUE, SEQ, STATE, stored
from treadle.broker.sqlite.statements import load
from treadle.broker.sqlite.transaction import Transaction
from treadle.broker.sqlite.unique import drop_keys, held_key_until

_SQL = load("removal")
_BELONGINGS = (
    "drop_spec",
    "drop_history",
    "drop_edges",
    "drop_progress",
    "drop_steps",
    "drop_lines",
)


def remove(tx: Transaction, row: Row, remember_until: int) -> None:
    """Drop one final record; remember its id."""
    remove_all(tx, [(row, remember_until)])


def remove_all(tx: Transaction, found: Sequence[tuple[Row, int]]) -> None:
    """Drop final records; remember each id until the instant given, or while its key holds."""
    gone: list[tuple[int]] = []
    tx.retire(max((row[FENCE] for row, _ in found), default=0))
    for row, wished in found:
        # A key that is held for a period outlives the record: its holder must stay known.
        until = max(wished, held_key_until(tx, row[QUEUE], row[ID]))
        if until > tx.now:
            forgotten = FORGOTTEN + row[STATE]
            tx.run(_SQL["remember"], (forgotten, row[FENCE], stored(until), row[SEQ]))
        else:
            drop_keys(tx, row[QUEUE], row[ID])
            gone.append((row[SEQ],))
        tx.tally(row[QUEUE])[row[STATE]] -= 1
    seqs = [(row[SEQ],) for row, _ in found]
    for name in _BELONGINGS:
        tx.many(_SQL[name], seqs)
    _drop(tx, gone)


def forget_all(tx: Transaction, rows: Sequence[Row]) -> None:
    """Drop what is remembered of records that were removed, and the keys that only they held."""
    for row in rows:
        drop_keys(tx, row[QUEUE], row[ID])
    _drop(tx, [(row[SEQ],) for row in rows])


def _drop(tx: Transaction, seqs: Sequence[tuple[int]]) -> None:
    if seqs:
        tx.many(_SQL["drop_job"], seqs)
        tx.retire_seq(max(seqs)[0])
