"""Unique keys in the file: who took one, and whether it still holds."""

from __future__ import annotations

from treadle.broker.sqlite.rows import stored
from treadle.broker.sqlite.statements import load
from treadle.broker.sqlite.transaction import Transaction
from treadle.domain.state import State
from treadle.domain.unique import Unique, held_until, holding_states, holds

_SQL = load("unique")


def key_holder(tx: Transaction, queue: int, unique: Unique, id: str) -> str | None:
    """Return the id of another job that holds the key."""
    row = tx.one(_SQL["holder"], (queue, unique.key))
    if row is None or row[0] == id:
        return None
    holder, mask, until, state = row
    alive = State(state) if isinstance(state, int) and 0 <= state <= 5 else None
    return str(holder) if holds(mask, until, alive, tx.now) else None


def take_key(tx: Transaction, queue: int, id: str, unique: Unique) -> None:
    """Let a job hold the key; whoever took it before holds it no longer."""
    until = stored(held_until(unique, tx.now))
    tx.run(_SQL["take"], (queue, unique.key, id, holding_states(unique), until))


def drop_keys(tx: Transaction, queue: int, id: str) -> None:
    """Let a job hold no key any more."""
    tx.run(_SQL["drop"], (id, queue))


def held_key_until(tx: Transaction, queue: int, id: str) -> int:
    """Return until when a job holds a key whatever its state; 0 = not at all."""
    row = tx.one(_SQL["until"], (id, queue))
    return 0 if row is None or row[0] is None else int(row[0])
