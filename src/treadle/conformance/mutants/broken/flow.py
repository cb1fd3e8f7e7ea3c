"""Follow-ups, parents and children, and slots of concurrency keys that go wrong."""

# ruff: noqa: ARG002, D102 - the first line of each class says what its methods do wrong.

from __future__ import annotations

from msgspec import structs

from treadle.broker.memory.flow import Edges, Slots
from treadle.broker.memory.lane import Row
from treadle.broker.values import Applied, Conflict
from treadle.conformance.mutants.loose import Answer, LooseStore, LooseTable
from treadle.conformance.mutants.mutant import mutant
from treadle.domain.head import first as first_head
from treadle.domain.head import next_look_ms
from treadle.domain.job import Head, Ref
from treadle.domain.outcome import Change, Write
from treadle.domain.state import Event, State


@mutant("M47", case="C326")
class FollowUpsOfConflicts(LooseStore):
    """A follow-up is stored though the change of its parent conflicted."""

    def _one(self, write: Write, now: int) -> Answer:
        answer = super()._one(write, now)
        if isinstance(write, Change) and isinstance(answer, Conflict):
            for job in write.follow_ups:
                if self._table.row(job.queue, job.id) is None:
                    head = first_head(job, now, self._table.first_fence())
                    self._table.insert(job, head, now)
        return answer


@mutant("M48", case="C327")
class FollowUpsOverwrite(LooseStore):
    """A follow-up whose id exists replaces the body that was stored first."""

    def _one(self, write: Write, now: int) -> Answer:
        answer = super()._one(write, now)
        if isinstance(write, Change) and isinstance(answer, Applied):
            for job in write.follow_ups:
                row = self._table.row(job.queue, job.id)
                if row is not None:
                    row.job = structs.replace(row.job, payload=job.payload)
        return answer


@mutant("M49", case="C325")
class OnlyOneFollowUp(LooseStore):
    """Of several follow-ups only the first is stored."""

    def _one(self, write: Write, now: int) -> Answer:
        if isinstance(write, Change):
            write = structs.replace(write, follow_ups=write.follow_ups[:1])
        return super()._one(write, now)


@mutant("M50", case="C352")
class ChildrenAreNotLookedAt(LooseTable):
    """The end of a parent does not make its children due for a look."""

    def look_at_children(self, parent: Row, now: int) -> bool:
        return False


class _Near(Edges):
    """Finds the children of a parent's own queue."""

    def blocked_on(self, parent: Ref) -> list[Row]:
        return [row for row in super().blocked_on(parent) if row.job.queue == parent.queue]


@mutant("M51", case="C371")
class ChildrenElsewhereAreForgotten(LooseTable):
    """The end of a parent reaches no children in other queues."""

    def __init__(self) -> None:
        super().__init__()
        self.edges = _Near()


class _Rigid(Edges):
    """Keeps the edges that a job was stored with."""

    def tie(self, row: Row, edges: tuple[Ref, ...]) -> None:
        if not (row.edges and edges):
            super().tie(row, edges)


@mutant("M52", case="C356")
class EdgesAreNotReplaced(LooseTable):
    """A child goes on waiting for parents of which a look has said that they are final."""

    def __init__(self) -> None:
        super().__init__()
        self.edges = _Rigid()


@mutant("M53", case="C359")
class ParentsThatEndDuringALook(LooseTable):
    """A parent that ends between the look at its child and the decision is missed."""

    def move(self, row: Row, head: Head, event: Event, now: int, *, first: bool = False) -> None:
        if head.state is State.BLOCKED and not head.blocked_on and head.due == now:
            head = structs.replace(head, due=now + next_look_ms(head.look_ms))
        super().move(row, head, event, now, first=first)


@mutant("M54", case="C267")
class SlotsLeak(LooseTable):
    """A slot of a concurrency key is freed by an attempt that ends its job, and by no other."""

    def move(self, row: Row, head: Head, event: Event, now: int, *, first: bool = False) -> None:
        if row.head.state is State.RUNNING and head.state is State.WAITING and row.job.key:
            self.slots.take(row.job.key)
        super().move(row, head, event, now, first=first)


class _Generous(Slots):
    """Frees two slots for one."""

    def give(self, key: str) -> None:
        super().give(key)
        if key in self._used:
            super().give(key)


@mutant("M55", case="C283")
class SlotsAreFreedTwice(LooseTable):
    """The end of an attempt frees two slots of its concurrency key."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = _Generous()


@mutant("M56", case="C264")
class NobodyIsLetIn(LooseTable):
    """A slot that is freed lets no waiter in."""

    def let_in(self, key: str, most: int, now: int) -> None:
        return


class _LastFirst(Slots):
    """Lets in who came last."""

    def first(self, key: str) -> Row | None:
        waiting = self._waiting.get(key)
        return next(reversed(waiting.values())) if waiting else None


@mutant("M57", case="C264")
class TheLastWaiterComesFirst(LooseTable):
    """The last waiter of a concurrency key is let in before the first."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = _LastFirst()


@mutant("M58", case="C269")
class ConflictsFreeSlots(LooseStore):
    """A change that conflicts frees a slot of the concurrency key all the same."""

    def _one(self, write: Write, now: int) -> Answer:
        answer = super()._one(write, now)
        row = self._row(write)
        if isinstance(answer, Conflict) and row is not None and row.job.key:
            slots = self._table.slots
            if not slots.has_room(row.job.key):
                slots.give(row.job.key)
                self._table.let_in(row.job.key, 1, now)
        return answer
