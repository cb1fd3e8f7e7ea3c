"""Listings, counts, events and documents that do not tell the truth."""

# ruff: noqa: ARG002, D102 - the first line of each class says what its methods do wrong.

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import structs

from treadle.broker.base import Clock
from treadle.broker.memory.control import Documents
from treadle.broker.memory.lane import Lane, Row
from treadle.broker.memory.sessions import Session
from treadle.broker.values import Applied, Document, Filter, Order, Page, QueueStats
from treadle.conformance.mutants.loose import Answer, LooseStore, LooseTable
from treadle.conformance.mutants.mutant import mutant
from treadle.domain.job import Record
from treadle.domain.outcome import Change, Removal, Write
from treadle.domain.state import Event


@mutant("M68", case="C513")
class CursorsSkip(LooseStore):
    """A cursor goes on behind the record that would have come next."""

    def find(self, filter: Filter, order: Order, cursor: str | None, limit: int) -> Page:
        page = super().find(filter, order, cursor, max(limit, 1) + 1)
        return structs.replace(page, records=page.records[: max(limit, 1)])


@mutant("M69", case="C513")
class CursorsRepeat(LooseStore):
    """A cursor goes on at the last record of its page, not behind it."""

    def find(self, filter: Filter, order: Order, cursor: str | None, limit: int) -> Page:
        page = super().find(filter, order, cursor, limit)
        if page.cursor is None or limit < 2:
            return page
        return structs.replace(page, cursor=super().find(filter, order, cursor, limit - 1).cursor)


class _Restless(LooseTable):
    """Gives a row a new place in the order of creation when it moves."""

    def move_up(self, row: Row) -> None:
        shelf = self.lanes[row.job.queue].shelves[row.head.state]
        shelf.drop(row.seq)
        self._seq += 1
        row.seq = self._seq
        shelf.add(row.seq, row)


@mutant("M70", case="C526")
class ListingsGoByTheLastChange(LooseStore):
    """A job that was handed back comes first in listings, as if it had just been created."""

    table_class = _Restless

    def _one(self, write: Write, now: int) -> Answer:
        answer = super()._one(write, now)
        row = self._row(write)
        moved = isinstance(write, Change) and write.event is Event.INTERRUPT
        if row is not None and moved and isinstance(answer, Applied):
            table = self._table
            assert isinstance(table, _Restless)
            table.move_up(row)
        return answer


@mutant("M71", case="C382")
class RemovedRecordsAreCounted(LooseStore):
    """A record that was removed is still counted."""

    def __init__(self, clock: Clock, max_record: int) -> None:
        super().__init__(clock, max_record)
        self._removed: Counter[str] = Counter()

    def _one(self, write: Write, now: int) -> Answer:
        answer = super()._one(write, now)
        if isinstance(write, Removal) and isinstance(answer, Applied):
            self._removed[write.queue] += 1
        return answer

    def _count(self, name: str, now: int) -> QueueStats:
        stats = super()._count(name, now)
        return structs.replace(stats, succeeded=stats.succeeded + self._removed[name])


@mutant("M72", case="C550")
class RetriedJobsAreCountedTwice(LooseStore):
    """A job that is run again is still counted as final too."""

    def __init__(self, clock: Clock, max_record: int) -> None:
        super().__init__(clock, max_record)
        self._retried: Counter[str] = Counter()

    def _one(self, write: Write, now: int) -> Answer:
        answer = super()._one(write, now)
        if isinstance(write, Change) and write.fresh and isinstance(answer, Applied):
            self._retried[write.queue] += 1
        return answer

    def _count(self, name: str, now: int) -> QueueStats:
        stats = super()._count(name, now)
        return structs.replace(stats, dead=stats.dead + self._retried[name])


class _Drifting(Lane):
    """Counts a job as later that has left."""

    def forget_place(self, row: Row) -> None:
        row.later = False


@mutant("M73", case="C547")
class LaterDrifts(LooseTable):
    """A delayed job that is cancelled or moved is still counted as later."""

    lane_class = _Drifting


@mutant("M74", case="C562")
class ClaimsLeaveNoEvent(LooseTable):
    """A claim leaves no entry in the event log."""

    def claim(self, session: Session, queues: Sequence[str], limit: int, now: int) -> list[Record]:
        before = len(self.log.lines)
        records = super().claim(session, queues, limit, now)
        told = [line for line in self.log.lines[before:] if line[1] != Event.CLAIM]
        self.log.lines[before:] = told
        return records


class _LastWins(Documents):
    """Compares no version."""

    def put(self, name: str, data: bytes | None, version: int) -> Document | None:
        standing = self.get(name)
        return super().put(name, data, 0 if standing is None else standing.version)


@mutant("M75", case="C604")
class DocumentsAreOverwritten(LooseStore):
    """A document is written whatever version stands."""

    def __init__(self, clock: Clock, max_record: int) -> None:
        super().__init__(clock, max_record)
        self._documents = _LastWins()


class _Restarting(Documents):
    """Counts the versions of a removed document from the beginning."""

    def put(self, name: str, data: bytes | None, version: int) -> Document | None:
        written = super().put(name, data, version)
        if written is None and not self._all:
            self._version = 0
        return written


@mutant("M76", case="C615")
class VersionsAreGivenTwice(LooseStore):
    """A document that was removed begins with version 1 again."""

    def __init__(self, clock: Clock, max_record: int) -> None:
        super().__init__(clock, max_record)
        self._documents = _Restarting()
