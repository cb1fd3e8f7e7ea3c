"""Who waits for a slot of a concurrency key stands in the order in which they came.

The tables of the SQLite broker order waiters by when they are looked at next, which is later for one
that was sent back to wait: whoever came after it would go first. So a turn is written down for each, by
triggers that see every way into and out of the wait, and the one statement that asks for waiters is answered
by turn.
"""

from __future__ import annotations

from typing import Final

from treadle.broker.sqlite.connection import Connection, Parameters, Row
from treadle.broker.sqlite.statements import load

TABLES: Final = """
    CREATE TABLE IF NOT EXISTS nats_turn (
        turn INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, seq INTEGER NOT NULL UNIQUE
    );
    CREATE INDEX IF NOT EXISTS nats_turn_key ON nats_turn (key, turn);
    CREATE TRIGGER IF NOT EXISTS nats_wait AFTER UPDATE OF blocked_on ON job
    WHEN OLD.blocked_on IS NOT NULL OR NEW.blocked_on IS NOT NULL
    BEGIN
        DELETE FROM nats_turn WHERE seq = OLD.seq;
        INSERT INTO nats_turn (key, seq) SELECT NEW.blocked_on, NEW.seq
            WHERE NEW.blocked_on IS NOT NULL;
    END;
    CREATE TRIGGER IF NOT EXISTS nats_leave AFTER DELETE ON job WHEN OLD.blocked_on IS NOT NULL
    BEGIN
        DELETE FROM nats_turn WHERE seq = OLD.seq;
    END;
"""
_BY_LOOK: Final = load("slots")["waiters"]
_BY_TURN: Final = """
    SELECT job.seq, job.id, job.queue FROM nats_turn JOIN job ON job.seq = nats_turn.seq
    WHERE nats_turn.key = ? ORDER BY nats_turn.turn LIMIT ?
"""


class TurnConnection(Connection):
    """A connection on which waiters stand in the order in which they came."""

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Run a statement and return all its rows."""
        return super().rows(_BY_TURN if sql is _BY_LOOK else sql, parameters)
