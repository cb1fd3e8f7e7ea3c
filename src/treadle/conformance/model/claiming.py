"""What `claim` may answer: which jobs, in which order, and which ones are put aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from treadle.conformance.model.disagreement import Refuted
from treadle.conformance.model.showing import check_head, expect_several, find_kept
from treadle.conformance.model.stock import Kept, Place, Stock
from treadle.conformance.model.when import When
from treadle.domain.head import blocked_on, claimed
from treadle.domain.job import Record, Ref
from treadle.domain.state import Event, State

FREE_MS = 1_000
"""Timers that are due within this time of each other may go in any order."""

_ORDER = "Order: queues as listed, then priority (strict), then due time; ties as enqueued"
_NEVER_TWICE = "Make up to `limit` due jobs running, never one of them twice"
_FULL_KEY = "A job whose concurrency key is full goes to blocked(key) instead, in the same step"
_GOES_ON = "and the search goes on"
_HEAD = "In one step per job: running, attempt + 1, fence + 1, `claimed` and `session` set"

After = Mapping[Ref, Record | None]
"""Records as they were read right after a call: they show which of its freedoms a broker used."""


def goes_before(one: Kept, other: Kept) -> bool:
    """Tell whether a job must be claimed before another of its queue and priority."""
    if Place.RETURNING in (one.place, other.place):
        return False
    fuzz = one.fuzz + other.fuzz
    if Place.TIMER in (one.place, other.place):
        return one.head.due + FREE_MS + fuzz < other.head.due
    return one.seq < other.seq


class Search:
    """One claim, as it goes through the queues."""

    def __init__(self, stock: Stock, queues: Sequence[str], limit: int, when: When) -> None:
        self.stock = stock
        self.queues = [name for name in queues if name not in stock.paused]
        self.limit = max(limit, 0)
        self.when = when
        self.running = stock.running()
        self.taken: list[Kept] = []

    def place(self, kept: Kept) -> tuple[int, int]:
        """Return where a job stands before its due time counts."""
        return self.queues.index(kept.ref.queue), kept.job.priority

    def has_room(self, key: str) -> bool:
        """Tell whether one more job of a concurrency key may run."""
        limit = self.stock.key_limits.get(key) if key else None
        return limit is None or self.running[key] < limit

    def take(self, kept: Kept) -> None:
        """Check that a job could be claimed, and count it."""
        if kept in self.taken or kept.head.state is not State.WAITING:
            raise Refuted(
                f"{kept.ref}, which is {kept.head.state.name}", "waiting jobs", _NEVER_TWICE
            )
        if kept.ref.queue not in self.queues:
            raise Refuted(kept.ref, f"jobs of {self.queues}", "A paused queue gives nothing")
        if self.when.reached(kept.head.due, kept.fuzz) is False:
            raise Refuted(f"{kept.ref}, due {kept.head.due}", f"due at {self.when}", _NEVER_TWICE)
        if not self.has_room(kept.job.key):
            raise Refuted(kept.ref, f"none of the full key {kept.job.key!r}", _FULL_KEY)
        self.running[kept.job.key] += 1
        for earlier in self.taken:
            here, there = self.place(kept), self.place(earlier)
            if here < there or (here == there and goes_before(kept, earlier)):
                raise Refuted(f"{earlier.ref} before {kept.ref}", "the other way round", _ORDER)
            self.stock.is_free |= here == there and not goes_before(earlier, kept)
        self.taken.append(kept)

    def passed(self, kept: Kept) -> bool:
        """Tell whether the search must have met a job that was not claimed."""
        if len(self.taken) < self.limit:
            return True
        return any(self._stands_before(kept, taken) for taken in self.taken)

    def _stands_before(self, kept: Kept, taken: Kept) -> bool:
        here, there = self.place(kept), self.place(taken)
        return here < there or (here == there and goes_before(kept, taken))

    def leave(self, kept: Kept, after: After) -> None:
        """Check that a job which was not claimed could be left, and put it aside if it was."""
        is_due = self.when.reached(kept.head.due, kept.fuzz)
        if is_due is False:
            return
        if self.has_room(kept.job.key):
            if is_due and self.passed(kept):
                raise Refuted(f"not {kept.ref}", f"{kept.ref} at its place", _ORDER)
            could = self._could_have_been_taken(kept, self.taken)
            self.stock.is_free |= is_due is None or could
            return
        rivals = [taken for taken in self.taken if taken.job.key == kept.job.key]
        for taken in rivals:
            if is_due and self._stands_before(kept, taken):
                raise Refuted(f"{taken.ref} and not {kept.ref}", f"{kept.ref} first", _ORDER)
        self.stock.is_free |= self._could_have_been_taken(kept, rivals)
        self._put_aside(kept, after, must=is_due is True and self.passed(kept))

    def _could_have_been_taken(self, kept: Kept, instead_of: Sequence[Kept]) -> bool:
        return any(
            self.place(kept) == self.place(taken) and not goes_before(taken, kept)
            for taken in instead_of
        )

    def _put_aside(self, kept: Kept, after: After, *, must: bool) -> None:
        shown = after.get(kept.ref)
        if shown is not None and shown.head.state is State.BLOCKED:
            head = blocked_on(kept.head, kept.job.key, self.when.low)
            self.stock.move(kept, head, Event.BLOCK, self.when)
        elif must:
            raise Refuted(
                f"{kept.ref} still waits", f"blocked on {kept.job.key!r}", f"{_FULL_KEY} {_GOES_ON}"
            )
        self.stock.is_free |= not must


def judge(
    stock: Stock,
    session: str,
    queues: Sequence[str],
    limit: int,
    records: object,
    when: When,
    after: After,
) -> None:
    """Check what was claimed, what was passed over, and what was put aside."""
    shown = expect_several(records, _NEVER_TWICE)
    search = Search(stock, queues, limit, when)
    if len(shown) > search.limit:
        raise Refuted(f"{len(shown)} records", f"at most {search.limit}", _NEVER_TWICE)
    pairs = [find_kept(stock, record, _NEVER_TWICE) for record in shown]
    for kept, _ in pairs:
        search.take(kept)
    others = [k for k in stock.in_state(State.WAITING) if k.ref.queue in search.queues]
    for kept in sorted(others, key=lambda kept: kept.seq):
        if kept not in search.taken and search.limit:
            search.leave(kept, after)
    for kept, record in pairs:
        stock.move(kept, claimed(kept.head, session, when.low), Event.CLAIM, when)
        check_head(kept, record, _HEAD)
        if record.job != kept.job:
            raise Refuted(record.job, kept.job, "`claim` fills job and head")
