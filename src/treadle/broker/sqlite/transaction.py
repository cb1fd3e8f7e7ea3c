"""One write transaction: what the operations in it share, and what follows from them at its end.

Operations of many callers share a transaction. What each of them counts, logs and wakes is kept in
`Effects` of its own and added to those of the transaction only when the operation succeeded, so that
one that is rolled back leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from treadle.broker.sqlite.connection import Connection, Row
from treadle.broker.sqlite.statements import load
from treadle.broker.sqlite.trouble import DamagedFence
from treadle.domain.limits import EVENTS_KEPT
from treadle.domain.state import Event, State

_SQL = load("transaction")
_STATE_NAMES = tuple(state.name.lower() for state in State)
_TRIM_EVERY = 2_048
DAMAGED = 1 << 62
"""No store gets as far as this fence: a row that shows it is damaged."""
_SOON_MS = 1_500
"""Who waits looks at the file once a second: what is due sooner than about that is told at once."""

Entries = list[tuple[str, str, str, list[str]]]
"""Event, queue, state and ids of jobs to which the same happened."""


class Effects:
    """What follows from operations besides the rows they wrote."""

    __slots__ = ("entries", "everybody", "rung", "tallies")

    def __init__(self) -> None:
        self.tallies: dict[int, list[int]] = {}
        """By queue number: how many more jobs are in each of the six states."""
        self.entries: Entries = []
        self.rung: set[str] = set()
        """Queues in which something became claimable."""
        self.everybody = False
        """All that wait shall look again."""

    def add(self, other: Effects) -> None:
        """Take over what an operation that succeeded left."""
        for queue, more in other.tallies.items():
            tally = self.tallies.get(queue)
            if tally is None:
                self.tallies[queue] = more
            else:
                tally[:] = [a + b for a, b in zip(tally, more, strict=True)]
        self.entries += other.entries
        self.rung |= other.rung
        self.everybody |= other.everybody


class Transaction:
    """The write transaction that is open now. `now` is broker time for all that happens in it."""

    def __init__(self, connection: Connection, now: int) -> None:
        self.connection = connection
        self.names = connection.names
        self.codec = connection.codec
        self.rows = connection.rows
        self.one = connection.one
        self.run = connection.run
        self.many = connection.many
        self.now = now
        self.effects = Effects()
        """Of the operation that runs now."""
        self.total = Effects()
        """Of all operations that succeeded."""
        self._highest_gone: int | None = None

    def begin(self) -> None:
        """Begin an operation that can be undone alone."""
        self.connection.raw.execute("SAVEPOINT operation")

    def keep(self) -> None:
        """End an operation that succeeded."""
        self.connection.raw.execute("RELEASE operation")
        self.accept()

    def accept(self) -> None:
        """Count what the operation did."""
        self.total.add(self.effects)
        self.effects = Effects()

    def undo(self) -> None:
        """Undo the operation that runs now; those before it stay."""
        self.connection.raw.execute("ROLLBACK TO operation")
        self.connection.raw.execute("RELEASE operation")
        self.names.forget()
        self.effects = Effects()
        self._highest_gone = None

    def undo_all(self) -> None:
        """Undo and end the transaction."""
        self.connection.raw.execute("ROLLBACK")
        self.names.forget()

    def next_seq(self) -> int:
        """Return the sequence number of the job that is stored next: no other job ever had it."""
        last: int = self.rows(_SQL["last_seq"])[0][0]
        return last + 1

    def retire_seq(self, seq: int) -> None:
        """Give no sequence number up to this one, of a row that has just gone, to a new job."""
        if seq >= self.next_seq():
            self.run(_SQL["retire_seq"], (seq,))

    def first_fence(self) -> int:
        """Return the fence of the jobs that are stored now: no removed row of their ids had it.

        Raises:
            DamagedFence: if the file does not say which fences were given.
        """
        highest = self._highest_gone
        if highest is None:
            row = self.one(_SQL["highest_gone"])
            found: object = 0 if row is None else row[0]
            if not (isinstance(found, int) and 0 <= found < DAMAGED):
                raise DamagedFence(found)
            highest = self._highest_gone = found
        return highest + 1

    def gave(self, fence: int) -> None:
        """Take over the fence that a statement gave to a new job."""
        self._highest_gone = fence - 1

    def retire(self, fence: int) -> None:
        """Give no fence up to this one, of a row that goes, to a new job."""
        if self.first_fence() <= fence < DAMAGED:
            self.run(_SQL["retire"], (fence,))
            self._highest_gone = fence

    def tally(self, queue: int) -> list[int]:
        """Return how the counts of a queue change in this operation, by state: to be added to."""
        tally = self.effects.tallies.get(queue)
        if tally is None:
            tally = self.effects.tallies[queue] = [0, 0, 0, 0, 0, 0]
        return tally

    def waiting(self, queue: int, stored: int) -> int:
        """Return how many jobs wait in a queue, `stored` of them before this transaction."""
        parts = (self.total.tallies.get(queue), self.effects.tallies.get(queue))
        return stored + sum(part[State.WAITING] for part in parts if part is not None)

    def log(self, event: Event, queue: str, state: int | None, ids: Sequence[str]) -> None:
        """Leave an entry in the event log for each of `ids`; state None = the record is gone."""
        name = "" if state is None else _STATE_NAMES[state]
        entries = self.effects.entries
        if entries and entries[-1][:3] == (event, queue, name):
            entries[-1][3].extend(ids)
        else:
            entries.append((event, queue, name, list(ids)))

    def ring(self, queue: str, due: int) -> None:
        """Wake who waits for a job of `queue` if one is due, or nearly so."""
        if due <= self.now + _SOON_MS:
            self.effects.rung.add(queue)

    def finish(self) -> None:
        """Write the counts and the event log: the last thing before the commit."""
        for queue, tally in self.total.tallies.items():
            if any(tally):
                self.run(_SQL["count"], (*tally, queue))
        entries = self.total.entries
        if entries:
            count = sum(len(ids) for _, _, _, ids in entries)
            values = (count, self.now, msgspec.json.encode(entries))
            last: int = self.rows(_SQL["add_event"], values)[0][0]
            if (last - count) // _TRIM_EVERY != last // _TRIM_EVERY:
                self.run(_SQL["trim_events"], (last - EVENTS_KEPT,))


__all__ = ["Effects", "Row", "Transaction"]
