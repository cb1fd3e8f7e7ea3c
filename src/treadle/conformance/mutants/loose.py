"""The brokers in the box with their parts loose, so that a mutant can replace one of them.

Unless a subclass says otherwise each part does exactly what the broker in the box does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from msgspec import structs

from treadle.broker.base import Clock
from treadle.broker.memory import MemoryBroker, writes
from treadle.broker.memory.lane import Lane, Row
from treadle.broker.memory.records import running
from treadle.broker.memory.store import Store
from treadle.broker.memory.table import Table
from treadle.broker.sqlite.broker import SqliteBroker
from treadle.broker.sqlite.connection import Connection
from treadle.broker.values import Applied, Conflict, Duplicate
from treadle.domain.job import Record
from treadle.domain.outcome import Write

Answer = Applied | Conflict | Duplicate


class LooseTable(Table):
    """Nothing is broken."""

    lane_class: ClassVar[type[Lane]] = Lane

    def lane(self, name: str) -> Lane:
        """Return a queue, of the class that the mutant wants."""
        if name not in self.lanes:
            self.lanes[name] = self.lane_class(name)
        return self.lanes[name]

    def amended(self, record: Record, *, fence: int = 0, attempt: int = 0) -> Record:
        """Add to the numbers of a record that was just claimed."""
        row = self.row(record.job.queue, record.job.id)
        assert row is not None
        head = row.head
        row.head = structs.replace(head, fence=head.fence + fence, attempt=head.attempt + attempt)
        return running(row)


class LooseStore(Store):
    """Nothing is broken."""

    table_class: ClassVar[type[Table]] = LooseTable

    def __init__(
        self, clock: Clock, max_record: int, make_table: Callable[[], Table] | None = None
    ) -> None:
        super().__init__(clock, max_record)
        self._make_table = make_table or self.table_class
        self._table = self._make_table()

    def erase(self) -> None:
        """Forget everything, and begin with a table of the same kind."""
        super().erase()
        with self._lock:
            self._table = self._make_table()

    def _apply(self, changes: Sequence[Write], now: int) -> list[Answer]:
        answers = [self._one(change, now) for change in changes]
        self._tell_readers()
        return answers

    def _one(self, write: Write, now: int) -> Answer:
        """Apply one write: what mutants override."""
        return writes.apply(self._table, write, now)

    def _row(self, write: Write) -> Row | None:
        return self._table.row(write.queue, write.id)


class LooseBroker(MemoryBroker):
    """Nothing is broken."""

    store_class: ClassVar[type[LooseStore]] = LooseStore

    @classmethod
    def make_store(cls, clock: Clock, max_record: int) -> LooseStore:
        """Make the store of a new broker of this class."""
        return cls.store_class(clock, max_record)

    def another(self) -> MemoryBroker:
        """Make a broker of the same class on the same store."""
        return type(self)(self.url, self._clock, self._store)


class LooseFile(SqliteBroker):
    """Nothing is broken."""

    triggers: ClassVar[str] = ""
    """Statements that break the file itself, so that every process finds it broken."""

    def another(self) -> SqliteBroker:
        """Make a broker of the same class on the same file."""
        return type(self)(self.url, self._clock)

    async def connect(self) -> None:
        """Make the file ready, and break it."""
        await super().connect()
        await self._writer.outside(self._break)

    def _break(self, connection: Connection) -> None:
        if self.triggers:
            connection.raw.executescript(self.triggers)
