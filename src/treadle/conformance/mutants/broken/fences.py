"""Fences that are not compared, or do not move; cancel requests that do not hold."""

# ruff: noqa: D102 - the first line of each class says what its methods do wrong.

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from msgspec import structs

from treadle.broker.memory.lane import Lane, Row
from treadle.broker.memory.sessions import Session
from treadle.broker.values import Conflict, Lease, Note, Noted, Pulse
from treadle.conformance.mutants.loose import Answer, LooseStore, LooseTable
from treadle.conformance.mutants.mutant import mutant
from treadle.domain.job import Head, Record
from treadle.domain.outcome import CancelRequest, Change, Removal, Write
from treadle.domain.state import Event


class _Careless(LooseStore):
    """Gives some writes the fence that stands."""

    kind: ClassVar[type[Write]]

    def _one(self, write: Write, now: int) -> Answer:
        row = self._row(write)
        if row is not None and isinstance(write, self.kind):
            write = structs.replace(write, fence=row.head.fence)
        return super()._one(write, now)


@mutant("M01", case="C308")
class ChangesIgnoreFences(_Careless):
    """A change is applied whatever its fence."""

    kind = Change


@mutant("M02", case="C318")
class CancelRequestsIgnoreFences(_Careless):
    """A cancel request is accepted whatever its fence."""

    kind = CancelRequest


@mutant("M03", case="C388")
class RemovalsIgnoreFences(_Careless):
    """A final record is removed whatever the fence."""

    kind = Removal


@mutant("M04", case="C467")
class NotesIgnoreFences(LooseStore):
    """A note is written whatever the fence of its lease."""

    def _note(self, session: str, item: Note, now: int) -> Noted | Conflict:
        row = self._table.row(item.lease.queue, item.lease.id)
        if row is not None:
            lease = Lease(item.lease.queue, item.lease.id, row.head.fence)
            item = structs.replace(item, lease=lease)
        return super()._note(session, item, now)


@mutant("M05", case="C436")
class HeartbeatsIgnoreFences(LooseStore):
    """A heartbeat compares the ids of what is held, and not the fences."""

    def heartbeat(self, session: str, held: Sequence[Lease]) -> Pulse:
        believed = {self._standing(lease): lease for lease in held}
        pulse = super().heartbeat(session, list(believed))
        return structs.replace(
            pulse,
            lost=tuple(believed[lease] for lease in pulse.lost),
            cancels=tuple(believed[lease] for lease in pulse.cancels),
        )

    def _standing(self, lease: Lease) -> Lease:
        row = self._table.row(lease.queue, lease.id)
        return lease if row is None else Lease(lease.queue, lease.id, row.head.fence)


@mutant("M06", case="C204")
class ClaimsLeaveTheFence(LooseTable):
    """A claim does not move the fence."""

    def claim(self, session: Session, queues: Sequence[str], limit: int, now: int) -> list[Record]:
        records = super().claim(session, queues, limit, now)
        return [self.amended(record, fence=-1) for record in records]


@mutant("M07", case="C309")
class ChangesLeaveTheFence(LooseTable):
    """A change does not move the fence."""

    def finish(self, lane: Lane, row: Row, head: Head, now: int) -> None:
        super().finish(lane, row, structs.replace(head, fence=row.head.fence), now)

    def move(self, row: Row, head: Head, event: Event, now: int, *, first: bool = False) -> None:
        super().move(row, structs.replace(head, fence=row.head.fence), event, now, first=first)


@mutant("M08", case="C324")
class RetriesBeginWithTheFirstFence(LooseTable):
    """A new run begins with the fence of the first one."""

    def move(self, row: Row, head: Head, event: Event, now: int, *, first: bool = False) -> None:
        if event is Event.RETRY:
            head = structs.replace(head, fence=1)
        super().move(row, head, event, now, first=first)


@mutant("M09", case="C319")
class ChangesPassCancelRequests(LooseStore):
    """A change that is not final is accepted while a cancel request stands."""

    def _one(self, write: Write, now: int) -> Answer:
        row = self._row(write)
        if row is not None and isinstance(write, Change) and row.head.fence == write.fence:
            row.head = structs.replace(row.head, cancel=False)
        return super()._one(write, now)


@mutant("M10", case="C320")
class CancelRequestsStayForEver(LooseTable):
    """The cancel flag is kept when its job ends."""

    def finish(self, lane: Lane, row: Row, head: Head, now: int) -> None:
        super().finish(lane, row, structs.replace(head, cancel=row.head.cancel), now)

    def move(self, row: Row, head: Head, event: Event, now: int, *, first: bool = False) -> None:
        head = structs.replace(head, cancel=row.head.cancel)
        super().move(row, head, event, now, first=first)


@mutant("M11", case="C441")
class NobodyHearsOfCancelRequests(LooseStore):
    """A heartbeat does not name the jobs that shall be cancelled."""

    def heartbeat(self, session: str, held: Sequence[Lease]) -> Pulse:
        return structs.replace(super().heartbeat(session, held), cancels=())


@mutant("M87", case="C713")
class ForgottenIdsBeginAnew(LooseTable):
    """An id that was forgotten and is enqueued again gets the fences of its first life."""

    def first_fence(self) -> int:
        return 1
