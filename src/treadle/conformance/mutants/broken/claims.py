"""What is claimed: the wrong jobs, in the wrong order, too early, or too many."""

# ruff: noqa: D102 - the first line of each class says what its methods do wrong.

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop

import anyio
from anyio.lowlevel import checkpoint

from treadle.broker.memory.lane import Entry, Lane, Line, Row, Timeline
from treadle.broker.memory.sessions import Session
from treadle.broker.values import Claimed, Turned
from treadle.conformance.mutants.loose import LooseBroker, LooseStore, LooseTable
from treadle.conformance.mutants.mutant import mutant
from treadle.domain.job import Priority, Record
from treadle.domain.outcome import Write
from treadle.domain.state import State


class _OneLine(Lane):
    """Lets all priorities stand in one line."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        line = Line()
        self.lines = tuple(line for _ in Priority)


@mutant("M12", case="C211")
class PrioritiesAreIgnored(LooseTable):
    """Jobs are claimed as they come, whatever their priority."""

    lane_class = _OneLine


@mutant("M13", case="C230")
class QueuesGoByName(LooseStore):
    """Queues are claimed from by name, not as listed."""

    def _claim(self, session: str, queues: Sequence[str], limit: int, now: int) -> list[Record]:
        return super()._claim(session, sorted(queues), limit, now)


class _ByCreation(Line):
    """Lets rows stand as they were created, behind those that stand first."""

    def put(self, found: Entry) -> None:
        due, *rest = found
        super().put((min(due, 1), *rest))  # type: ignore[arg-type]  # the same four

    def put_many(self, found: Sequence[Entry]) -> None:
        for one in found:
            self.put(one)


class _LaneByCreation(Lane):
    """Has lines by creation."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.lines = tuple(_ByCreation() for _ in Priority)


@mutant("M14", case="C212")
class DueTimesDoNotOrder(LooseTable):
    """Jobs that are due are claimed as they were stored, not by their due time."""

    lane_class = _LaneByCreation


class _Hasty(Timeline):
    """Calls everything due a ms too early."""

    def pop(self, now: int) -> Row | None:
        return super().pop(now + 1)

    def has_due(self, now: int) -> bool:
        return super().has_due(now + 1)


class _HastyLane(Lane):
    """Has hasty timers."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.timers = _Hasty()


@mutant("M15", case="C215")
class DelaysAreRoundedDown(LooseTable):
    """A delayed job can be claimed a millisecond early."""

    lane_class = _HastyLane


class _Stale(Timeline):
    """Believes entries of waiting rows that speak of an earlier due time."""

    def pop(self, now: int) -> Row | None:
        while self.heap and self.heap[0][0] <= now:
            row = heappop(self.heap)[3]
            if row.head.state is State.WAITING and row.later:
                return row
        return None

    def first(self) -> Row | None:
        return self.heap[0][3] if self.heap else None


class _StaleLane(Lane):
    """Has stale timers."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.timers = _Stale()


@mutant("M16", case="C231")
class MovedJobsKeepTheirPlace(LooseTable):
    """A job that was moved to a later time is still claimed at the earlier one."""

    lane_class = _StaleLane


@mutant("M17", case="C206")
class LimitsAreExceeded(LooseTable):
    """A claim gives one job more than it was asked for."""

    def claim(self, session: Session, queues: Sequence[str], limit: int, now: int) -> list[Record]:
        return super().claim(session, queues, limit + 1 if limit > 0 else limit, now)


@mutant("M18", case="C204")
class AttemptsAreNotCounted(LooseTable):
    """A claim does not count an attempt."""

    def claim(self, session: Session, queues: Sequence[str], limit: int, now: int) -> list[Record]:
        records = super().claim(session, queues, limit, now)
        return [self.amended(record, attempt=-1) for record in records]


class _Careless(LooseStore):
    """Can lose what it has handed out."""

    def lose(self, records: Sequence[Record]) -> None:
        with self._lock:
            for record in records:
                row = self._table.row(record.job.queue, record.job.id)
                if row is not None:
                    self._table.sessions.release(row)


@mutant("M19", case="C802")
class JobsArePoppedBeforeTheyAreRecorded(LooseBroker):
    """A claim that is cancelled at the wrong moment takes its jobs with it."""

    store_class = _Careless

    async def claim(
        self, session: str, queues: Sequence[str], limit: int, wait_ms: int = 0
    ) -> Claimed:
        claimed = await super().claim(session, queues, limit, wait_ms)
        try:
            await checkpoint()
        except anyio.get_cancelled_exc_class():
            if isinstance(self._store, _Careless):
                self._store.lose(claimed.records)
            raise
        return claimed


@mutant("M20", case="C349")
class PausesAreForgottenOnTheWay(LooseStore):
    """A turn claims from a paused queue."""

    def turn(
        self, session: str, changes: Sequence[Write], queues: Sequence[str], limit: int
    ) -> Turned:
        paused = [lane for lane in self._table.lanes.values() if lane.paused]
        for lane in paused:
            lane.paused = False
        try:
            return super().turn(session, changes, queues, limit)
        finally:
            for lane in paused:
                lane.paused = True


@mutant("M21", case="C266")
class TurnsClaimFirst(LooseStore):
    """A turn claims before it settles."""

    def turn(
        self, session: str, changes: Sequence[Write], queues: Sequence[str], limit: int
    ) -> Turned:
        with self._lock:
            now = self._clock.time_ms()
            records = self._claim(session, queues, limit, now)
            return Turned(now=now, results=self._apply(changes, now), records=records)


@mutant("M22", case="C346")
class TurnsOfEndedSessionsWriteNothing(LooseStore):
    """A turn of a session that has ended does not apply its writes."""

    def turn(
        self, session: str, changes: Sequence[Write], queues: Sequence[str], limit: int
    ) -> Turned:
        with self._lock:
            self._table.sessions.living(session, self._clock.time_ms())
        return super().turn(session, changes, queues, limit)
