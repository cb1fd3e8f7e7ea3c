"""What `apply` may answer to each write, and what must be stored then."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import assert_never

from msgspec import structs

from treadle.broker.values import Applied, Conflict, Duplicate
from treadle.conformance.model import slots, storing
from treadle.conformance.model.claiming import After
from treadle.conformance.model.disagreement import Refuted
from treadle.conformance.model.showing import check_standing, expect, expect_each
from treadle.conformance.model.stock import Kept, Stock, is_final
from treadle.conformance.model.when import When
from treadle.domain.head import accepts, replaced
from treadle.domain.job import Job, Ref
from treadle.domain.limits import HISTORY_ROWS
from treadle.domain.outcome import CancelRequest, Change, Removal, Write
from treadle.domain.state import FINAL, Event, State

_CONFLICT = (
    "`Conflict` if the fence differs, if there is no such record, or if the change is not final"
    " while a cancel request stands"
)
_APPLIED = "Apply each write whose fence matches; `fence` is the fence that stands now"
_FRESH = "`Duplicate` if a `fresh` change finds its unique key held by another job"
_CHILDREN = "`children` says that blocked jobs wait for this one, which is now final"


class Hidden(Enum):
    """The result of a write that a broken-off call did not show."""

    HIDDEN = "hidden"


def judge(stock: Stock, writes: Sequence[Write], results: object, when: When, after: After) -> None:
    """Compare the result of each write, in order, and take over what it changed."""
    shown = expect_each(results, len(writes), "Results stand in the order of what was asked")
    written = {
        Ref(write.queue, write.id)
        for write, result in zip(writes, shown, strict=True)
        if isinstance(result, Applied)
    }
    for write, result in zip(writes, shown, strict=True):
        Writing(stock, when, after, written).judge(write, result)


def judge_unseen(stock: Stock, writes: Sequence[Write], when: When, after: After) -> None:
    """Take over what writes changed whose results were not shown."""
    for write in writes:
        Writing(stock, when, after, set()).judge(write, Hidden.HIDDEN)


class Writing:
    """One write on its way into the stock."""

    def __init__(self, stock: Stock, when: When, after: After, written: set[Ref]) -> None:
        self.stock = stock
        self.when = when
        self.after = after
        self.written = written

    def judge(self, write: Write, result: object) -> None:
        """Compare one result with what must become of its write."""
        ref = Ref(write.queue, write.id)
        kept = self.stock.records.get(ref)
        if kept is None or not accepts(kept.head, write):
            if result is not Hidden.HIDDEN:
                conflict = expect(result, Conflict, _CONFLICT)
                check_standing(self.stock, ref, conflict.record, self.when, _CONFLICT)
            return
        match write:
            case Change():
                self._change(kept, write, result)
            case CancelRequest():
                kept.head = structs.replace(kept.head, cancel=True)
                kept.changed = self.stock.calls
                self.stock.tell(Event.REQUEST_CANCEL, kept)
                self._expect_applied(result, kept.head.fence)
            case Removal():
                self.stock.tell(Event.DISCARD, kept, gone=True)
                self._expect_applied(result, kept.head.fence)
                self.stock.remove(kept, self.when.low + write.remember_ms, self.when)
            case _:
                assert_never(write)

    def _change(self, kept: Kept, change: Change, result: object) -> None:
        if (change.fresh or change.job is not None) and not self._has_taken_over(
            kept, change, result
        ):
            return
        key, was_running = kept.job.key, kept.head.state is State.RUNNING
        if change.edges is not None:
            kept.edges = change.edges
        if change.history is not None:
            kept.history = (*kept.history, change.history)[-HISTORY_ROWS:]
        kept.result = change.result
        head = replaced(kept.head, change, self.when.low)
        if head.state is State.BLOCKED and any(
            is_final(self.stock.records.get(e)) for e in kept.edges
        ):
            # It ended while the decision was made; nobody else would look again before `due`.
            head = structs.replace(head, due=self.when.low)
        self.stock.move(kept, head, change.event, self.when)
        if was_running:
            slots.let_first_in(self.stock, key, self.when, self.after, self.written)
        for job in change.follow_ups:
            self._follow_up(job)
        self._expect_applied(result, head.fence, children=self._look_at_children(kept))

    def _has_taken_over(self, kept: Kept, change: Change, result: object) -> bool:
        """Give the record its new body and its unique key, unless another job holds that key."""
        job = kept.job
        if change.job is not None:
            job = structs.replace(change.job, queue=job.queue, id=job.id)
        holder, certain = self.stock.key_holder(job, self.when, kept.ref)
        if isinstance(result, Duplicate) and holder is not None:
            check_standing(self.stock, holder, result.record, self.when, _FRESH)
            return False
        if holder is not None and certain:
            if result is not Hidden.HIDDEN:
                raise Refuted(result, f"Duplicate: {holder} holds the key", _FRESH)
            return False
        if holder is not None and result is Hidden.HIDDEN and not slots.has_moved(kept, self.after):
            return False
        self.stock.drop_key(kept)
        kept.job = job
        self.stock.take_key(kept, self.when)
        return True

    def _follow_up(self, job: Job) -> None:
        """Insert a follow-up; one whose id exists is left, and one whose key is held."""
        ref = Ref(job.queue, job.id)
        memory, certain = self.stock.memory(ref, self.when)
        holder, holds = self.stock.key_holder(job, self.when, ref)
        is_left = ref in self.stock.records or (memory and certain) or (holder and holds)
        if not is_left and (memory or holder):
            record = self.after.get(ref)
            is_left = record is None or record.forgotten
        if not is_left:
            storing.insert(self.stock, job, self._first_fence(ref), self.when)

    def _first_fence(self, ref: Ref) -> int:
        """Return the fence under which a follow-up was stored, as a later look at it shows."""
        record = self.after.get(ref)
        if record is None or record.forgotten:
            return self.stock.highest.get(ref, 0) + 1  # whoever looks at it misses it
        head = record.head
        was_met = head.state is State.RUNNING or bool(head.blocked_on)  # by the claim of a turn
        return head.fence - was_met

    def _look_at_children(self, kept: Kept) -> bool:
        if kept.head.state not in FINAL:
            return False
        children = self.stock.children(kept.ref)
        for child in children:
            self.stock.put_due(child, self.when)
        return bool(children)

    def _expect_applied(self, result: object, fence: int, *, children: bool = False) -> None:
        if result is Hidden.HIDDEN:
            return
        applied = expect(result, Applied, _APPLIED)
        if applied.fence != fence:
            raise Refuted(applied, f"fence={fence}", _APPLIED)
        if applied.children is not children:
            raise Refuted(applied, f"children={children}", _CHILDREN)
