"""Concurrency keys: how many jobs of one run, how many may, and who is let in next.

What runs is counted when somebody asks, by an index that holds running jobs with a key and nothing
else. No counter is kept that a crash could leave wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from treadle.broker.sqlite.connection import Connection
from treadle.broker.sqlite.rows import shown_due, standing_first
from treadle.broker.sqlite.statements import load
from treadle.broker.sqlite.transaction import Transaction
from treadle.domain.state import Event, State

_SQL = load("slots")
_LET_IN_AT_ONCE = 1_000
_ANY = 1 << 40


def room(connection: Connection, key: str, enough: int) -> int:
    """Return how many more jobs of a key may run, counted up to `enough`."""
    row = connection.one(_SQL["limit"], (key,))
    if row is None:
        return enough
    limit = int(row[0])
    used = connection.rows(_SQL["used"], (key, limit))
    return max(min(limit - int(used[0][0]), enough), 0)


class Slots:
    """The slots that one claim hands out."""

    def __init__(self, tx: Transaction) -> None:
        self._connection = tx.connection
        self._left: dict[str, int] = {}

    @cached_property
    def are_limited(self) -> bool:
        """Tell whether any key has a limit; asked once, and only if a job has a key."""
        return bool(self._connection.rows(_SQL["any_limit"])[0][0])

    def take(self, key: object) -> bool:
        """Take a slot of `key` for one job; False if there is none left."""
        if not isinstance(key, str) or not self.are_limited:
            return True
        left = self._left.get(key)
        if left is None:
            left = room(self._connection, key, _ANY)
        self._left[key] = max(left - 1, 0)
        return left > 0


def anybody_waits(tx: Transaction) -> bool:
    """Tell whether any job waits for a slot of any key."""
    return bool(tx.rows(_SQL["any_waiter"])[0][0])


def stand_last(tx: Transaction, rows: Sequence[int]) -> None:
    """Let jobs that wait for a slot of a key stand behind all others that do, in this order."""
    tx.many(_SQL["stand_last"], [(seq,) for seq in rows])


def let_in(tx: Transaction, key: str, most: int = _LET_IN_AT_ONCE) -> None:
    """Let up to `most` waiters of a key wait for their claim, in front of their queues."""
    rows = tx.rows(_SQL["waiters"], (key, room(tx.connection, key, most)))
    for seq, job_id, queue in rows:
        name = tx.names.queue_name(queue)
        tx.run(_SQL["let_in"], (standing_first(tx.now), seq))
        tally = tx.tally(queue)
        tally[State.BLOCKED] -= 1
        tally[State.WAITING] += 1
        tx.log(Event.UNBLOCK, name, State.WAITING, (str(job_id),))
        tx.ring(name, tx.now)


def due_keys(connection: Connection, now: int) -> list[str]:
    """Return the keys that have room although jobs wait for them, longer than they should.

    A freed slot lets its waiter in at once, so these exist only if that one did not take it: its
    queue is paused, or it was cancelled.
    """
    found: list[str] = []
    row = connection.one(_SQL["first_key"])
    while row is not None:
        key, due = str(row[0]), row[1]
        if shown_due(due) <= now and room(connection, key, 1):
            found.append(key)
        row = connection.one(_SQL["key_after"], (row[0],))
    return found
