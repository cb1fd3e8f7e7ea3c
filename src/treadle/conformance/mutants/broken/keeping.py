"""What is kept of a job: too little, too much, or not for as long as was promised."""

# ruff: noqa: ARG002, D102 - the first line of each class says what its methods do wrong.

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from treadle.broker.memory.lane import Row, Timeline
from treadle.broker.memory.notebook import Notebook
from treadle.broker.values import Applied, Conflict, Enqueued, Note, Noted, Step
from treadle.conformance.mutants.loose import Answer, LooseStore, LooseTable
from treadle.conformance.mutants.mutant import mutant
from treadle.domain.job import NEVER, Head, Job
from treadle.domain.outcome import Change, Write
from treadle.domain.state import FINAL, Event, State


class _Eager(Timeline):
    """Calls everything due."""

    def pop(self, now: int) -> Row | None:
        return super().pop(NEVER)


@mutant("M59", case="C701")
class RetentionIsIgnored(LooseTable):
    """A final record is dropped as soon as anybody purges."""

    def __init__(self) -> None:
        super().__init__()
        self._finals = _Eager()


@mutant("M60", case="C707")
class RetriedJobsAreDropped(LooseTable):
    """A job that was run again is dropped at the end of the retention of its first run."""

    def __init__(self) -> None:
        super().__init__()
        self._ended: list[tuple[int, Row]] = []

    def purge(self, limit: int, now: int) -> int:
        for due, row in self._ended:
            if due <= now and row.head.state is State.WAITING:
                super().move(
                    row, structs.replace(row.head, state=State.CANCELLED), Event.CANCEL, now
                )
                self.remove(row, now, now)
        self._ended = [(due, row) for due, row in self._ended if due > now]
        return super().purge(limit, now)

    def move(self, row: Row, head: Head, event: Event, now: int, *, first: bool = False) -> None:
        if event is Event.RETRY:
            self._ended.append((row.head.due, row))
        super().move(row, head, event, now, first=first)


@mutant("M61", case="C384")
class IdsAreForgottenAtOnce(LooseTable):
    """The id of a record that is removed or dropped is free at once."""

    def remove(self, row: Row, until: int, now: int) -> None:
        super().remove(row, now, now)


@mutant("M62", case="C310")
class HistoryIsLost(LooseStore):
    """A final change appends no history row."""

    def _one(self, write: Write, now: int) -> Answer:
        answer = super()._one(write, now)
        row = self._row(write)
        if row is not None and isinstance(write, Change) and isinstance(answer, Applied):
            row.history = row.history[:-1] if write.state in FINAL else row.history
        return answer


@mutant("M63", case="C323")
class ResultsOutliveTheirRun(LooseStore):
    """A new run begins with the result of the one before."""

    def _one(self, write: Write, now: int) -> Answer:
        row = self._row(write)
        result = None if row is None else row.result
        answer = super()._one(write, now)
        if row is not None and isinstance(write, Change) and write.fresh:
            row.result = result
        return answer


@mutant("M64", case="C332")
class HandBacksCountAttempts(LooseTable):
    """Handing back a job that never began uses up an attempt."""

    def move(self, row: Row, head: Head, event: Event, now: int, *, first: bool = False) -> None:
        if event is Event.INTERRUPT:
            head = structs.replace(head, attempt=row.head.attempt)
        super().move(row, head, event, now, first=first)


class _Rewriting(Notebook):
    """Writes a step as often as it is told to."""

    def write(self, note: Note) -> Noted:
        if isinstance(note, Step):
            self._steps.pop(note.name, None)
        return super().write(note)


@mutant("M65", case="C461")
class StepsAreOverwritten(LooseStore):
    """A step that exists is written again."""

    def _note(self, session: str, item: Note, now: int) -> Noted | Conflict:
        row = self._table.row(item.lease.queue, item.lease.id)
        if row is not None and row.notebook is None:
            row.notebook = _Rewriting()
        return super()._note(session, item, now)


@mutant("M66", case="C463")
class RetriesDropNotes(LooseTable):
    """An operator's retry drops the steps of the runs before."""

    def move(self, row: Row, head: Head, event: Event, now: int, *, first: bool = False) -> None:
        super().move(row, head, event, now, first=first)
        if event is Event.RETRY:
            row.notebook = None


@mutant("M67", case="C462")
class StepsEndWithTheAttempt(LooseTable):
    """Steps are lost when their attempt ends without a result."""

    def move(self, row: Row, head: Head, event: Event, now: int, *, first: bool = False) -> None:
        if row.head.state is State.RUNNING and head.state is State.WAITING:
            row.notebook = None
        super().move(row, head, event, now, first=first)


@mutant("M89", case="C134")
class FullQueuesTakeSingleJobs(LooseStore):
    """A job that comes alone is stored although its queue is full."""

    def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        limits = {name: lane.limit for name, lane in self._table.lanes.items()}
        if len(jobs) == 1:
            for lane in self._table.lanes.values():
                lane.limit = None
        enqueued = super().enqueue(jobs)
        for name, limit in limits.items():
            self._table.lanes[name].limit = limit
        return enqueued
