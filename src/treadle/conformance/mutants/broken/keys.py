"""Ids and unique keys that are free too early, never, or for the wrong job."""

# ruff: noqa: ARG002, D102 - the first line of each class says what its methods do wrong.

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from treadle.broker.memory.lane import Lane, Row
from treadle.broker.values import Duplicate, Enqueued
from treadle.conformance.mutants.loose import LooseStore, LooseTable
from treadle.conformance.mutants.mutant import mutant
from treadle.domain.head import first as first_head
from treadle.domain.job import Head, Job
from treadle.domain.outcome import RefusalCode, Refused
from treadle.domain.state import Event, State


@mutant("M27", case="C105")
class DuplicatesOverwrite(LooseStore):
    """A job whose id exists replaces the body that was stored first."""

    def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        enqueued = super().enqueue(jobs)
        with self._lock:
            for job, result in zip(jobs, enqueued.results, strict=True):
                row = self._table.row(job.queue, job.id)
                if row is not None and isinstance(result, Duplicate):
                    row.job = structs.replace(row.job, payload=job.payload)
        return enqueued


@mutant("M28", case="C119")
class RefusedJobsAreHalfStored(LooseStore):
    """A job that is refused because its parent is unknown is stored all the same."""

    def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        enqueued = super().enqueue(jobs)
        with self._lock:
            for job, result in zip(jobs, enqueued.results, strict=True):
                unknown = RefusalCode.UNKNOWN_PARENT
                if isinstance(result, Refused) and result.code is unknown:
                    head = first_head(job, enqueued.now, self._table.first_fence())
                    self._table.insert(job, head, enqueued.now)
        return enqueued


@mutant("M29", case="C122")
class BatchesStopAtARefusal(LooseStore):
    """Of a call in which one job is refused, nothing behind it is stored, though it is so answered."""

    def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        enqueued = super().enqueue(jobs)
        refused = [isinstance(result, Refused) for result in enqueued.results]
        if True in refused:
            with self._lock:
                for job in jobs[refused.index(True) :]:
                    row = self._table.row(job.queue, job.id)
                    if row is not None and row.created == enqueued.now:
                        self._vanish(row)
        return enqueued

    def _vanish(self, row: Row) -> None:
        lane = self._table.lanes[row.job.queue]
        lane.forget_place(row)
        lane.shelves[row.head.state].drop(row.seq)
        row.head = structs.replace(row.head, fence=0)
        del lane.rows[row.job.id]


@mutant("M30", case="C150")
class KeysAreFreedByTheClaim(LooseTable):
    """A unique key that is held until its job is final is free once it runs."""

    def key_holder(self, job: Job, now: int) -> str | None:
        holder = super().key_holder(job, now)
        row = None if holder is None else self.row(job.queue, holder)
        return None if row is not None and row.head.state is State.RUNNING else holder


@mutant("M31", case="C151")
class KeysAreNeverFreed(LooseTable):
    """A unique key is held for ever by who took it first."""

    def key_holder(self, job: Job, now: int) -> str | None:
        lane = self.lanes.get(job.queue)
        if lane is None or job.unique is None:
            return None
        key = lane.keys.get(job.unique.key)
        return None if key is None or key.id == job.id else key.id


@mutant("M32", case="C158")
class RetriesTakeNoKey(LooseTable):
    """A new run does not take its unique key again."""

    def move(self, row: Row, head: Head, event: Event, now: int, *, first: bool = False) -> None:
        super().move(row, head, event, now, first=first)
        if event is Event.RETRY:
            self.drop_key(row)


@mutant("M33", case="C159")
class RetriesRobTheHolder(LooseTable):
    """A new run takes its unique key from the job that holds it."""

    def key_holder(self, job: Job, now: int) -> str | None:
        return None if self.row(job.queue, job.id) else super().key_holder(job, now)


@mutant("M34", case="C165")
class KeysKnowNoQueue(LooseTable):
    """A job of another queue takes a unique key from its holder."""

    def lane(self, name: str) -> Lane:
        lane = super().lane(name)
        for other in self.lanes.values():
            lane.keys = other.keys
            break
        return lane


@mutant("M35", case="C157")
class RemovalsFreeWhatOthersHold(LooseTable):
    """Removing a record frees the unique key that another job has taken since."""

    def remove(self, row: Row, until: int, now: int) -> None:
        super().remove(row, until, now)
        if row.job.unique is not None:
            self.lanes[row.job.queue].keys.pop(row.job.unique.key, None)


@mutant("M36", case="C148")
class KeysAreLostOnTheWayBack(LooseTable):
    """A job that waits again no longer holds its unique key."""

    def move(self, row: Row, head: Head, event: Event, now: int, *, first: bool = False) -> None:
        if row.head.state is State.RUNNING and head.state is State.WAITING:
            self.drop_key(row)
        super().move(row, head, event, now, first=first)
