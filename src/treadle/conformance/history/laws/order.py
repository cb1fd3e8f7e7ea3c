"""What must be true of the order and the moment in which jobs are handed out."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from msgspec import Struct

from treadle.conformance.history.events import NEVER_ENDED, Call, Claim, Pause, Said, Turn
from treadle.conformance.history.facts import Claimed, Facts, Life, Stored
from treadle.conformance.history.laws.registry import Breach, Terms, law
from treadle.domain.job import Priority
from treadle.domain.state import State


class _Turn(Struct, gc=False):
    """A job that waited from its enqueue to its first claim, and nothing else happened to it."""

    life: Life
    stored: Stored
    claim: Claimed | None
    """None: it still waits at the last scan."""

    @property
    def taken(self) -> float:
        """Return where the claim that took it began."""
        return NEVER_ENDED if self.claim is None else self.claim.call.begun

    @property
    def now(self) -> int:
        """Return when it was stored."""
        return self.stored.call.answer.now or 0


def _turns(facts: Facts) -> list[_Turn]:
    waiting: set[tuple[str, str, int]] = set()
    if facts.scan is not None:
        records = facts.scan.answer.records
        waiting = {(*s.key, s.fence) for s in records if s.state is State.WAITING}
    turns: list[_Turn] = []
    for life in facts.lives:
        done = [one for one in life.stored if one.told is not None and one.told.said == "done"]
        begins = life.begins
        if len(done) != 1 or not done[0].sent.is_immediate or done[0].sent.slot or begins is None:
            continue
        first = next((one for one in life.claims if one.seen.fence == begins + 1), None)
        is_last = facts.life(life.key) is life
        untouched = (*life.key, begins) in waiting and is_last and not life.claims
        if first is None and not untouched:
            continue
        turns.append(_Turn(life, done[0], first))
    return turns


@law("H12", "immediate jobs of one producer are first claimed in their order")
def producers_keep_their_order(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find a job that was claimed before one of its queue, priority and producer that came first."""
    lines: dict[tuple[str, str, int], list[_Turn]] = defaultdict(list)
    for turn in _turns(facts):
        if turn.claim is not None:
            sent = turn.stored.sent
            lines[turn.stored.call.client, sent.queue, sent.priority].append(turn)
    for line in lines.values():
        line.sort(key=lambda turn: (turn.stored.call.begun, turn.stored.place))
        yield from _between_claims(line)
        yield from _inside_claims(line)


def _between_claims(line: list[_Turn]) -> Iterator[Breach]:
    """Compare claims that did not overlap: each job with all that came surely later."""
    later = len(line)
    first: _Turn | None = None
    for turn in sorted(line, key=lambda turn: (-turn.stored.call.ended, -turn.stored.place)):
        while later and _came_later(line[later - 1], turn):
            later -= 1
            claim = line[later].claim
            if first is None or (
                claim and first.claim and claim.call.ended < first.claim.call.ended
            ):
                first = line[later]
        if first is None or first.claim is None or first.now < turn.now:
            continue
        if first.claim.call.ended < turn.taken and turn.claim is not None:
            text = f"{first.life} was claimed before {turn.life}, which was enqueued first"
            yield Breach(text, (turn.stored.call, first.claim.call, turn.claim.call))


def _came_later(other: _Turn, turn: _Turn) -> bool:
    if other.stored.call is turn.stored.call:
        return other.stored.place > turn.stored.place
    return other.stored.call.begun > turn.stored.call.ended


def _inside_claims(line: list[_Turn]) -> Iterator[Breach]:
    """Compare jobs of one claim with the one before them."""
    calls: dict[int, list[_Turn]] = defaultdict(list)
    for turn in line:
        if turn.claim is not None:
            calls[turn.claim.call.number].append(turn)
    for turns in calls.values():
        turns.sort(key=lambda turn: 0 if turn.claim is None else turn.claim.place)
        for before, turn in pairwise(turns):
            if _came_later(before, turn) and before.now >= turn.now and turn.claim is not None:
                text = f"{before.life} stands before {turn.life}, which was enqueued first"
                yield Breach(text, (turn.stored.call, turn.claim.call))


@law("H13", "a paused queue gives nothing")
def a_paused_queue_gives_nothing(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find a job that was claimed while its queue was surely paused."""
    times = {queue: _paused(calls) for queue, calls in facts.pauses.items()}
    for life in facts.lives:
        since, until = times.get(life.key[0], ([], []))
        if not since:
            continue
        for one in life.claims:
            earliest = max([one.call.begun, *_causes(life, one)])
            place = bisect_right(since, earliest)
            if place and one.call.ended < until[place - 1] and since[place - 1] < earliest:
                yield Breach(f"{life} was claimed from a paused queue", (one.call,))


def _causes(life: Life, one: Claimed) -> list[float]:
    """Return positions before which a job cannot have been claimed with that fence."""
    fence = one.seen.fence - 2
    causes: list[float] = [w.call.begun for w in life.writes if w.is_done and w.put.fence == fence]
    accepted = [each.call.begun for each in life.stored] + [w.call.begun for w, _ in life.spawned]
    return [*causes, min(accepted)] if accepted else causes


def _paused(calls: list[Call]) -> tuple[list[float], list[float]]:
    """Return where a queue was surely paused: from the end of a call to the next one that resumes."""
    pauses = [c for c in calls if isinstance(c.what, Pause) and c.what.paused and c.how == "ok"]
    resumes = sorted(
        (c for c in calls if isinstance(c.what, Pause) and not c.what.paused),
        key=lambda call: call.begun,
    )
    begun = [call.begun for call in resumes]
    latest: list[float] = []
    for call in resumes:
        latest.append(max(call.ended, latest[-1] if latest else 0))
    since: list[float] = []
    until: list[float] = []
    for call in sorted(pauses, key=lambda call: call.ended):
        place = bisect_left(begun, call.ended)
        if place and latest[place - 1] >= call.begun:
            continue  # who came last is not known
        since.append(call.ended)
        until.append(begun[place] if place < len(begun) else NEVER_ENDED)
    return since, until


@law("H16", "a higher priority always goes first")
def higher_priority_goes_first(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find a claim that gave a job while one of a higher priority waited in its queue.

    Inside a claim the queues stand in the order in which they were asked for, then priorities.
    """
    waits: dict[str, list[_Turn]] = defaultdict(list)
    for turn in _turns(facts):
        waits[turn.stored.sent.queue].append(turn)
    lines = {queue: [_Line(turns, p) for p in Priority] for queue, turns in waits.items()}
    priorities = {
        (one.call.number, life.key): life.sent.priority
        for life in facts.lives
        if life.sent is not None
        for one in life.claims
    }
    for call in facts.calls:
        if not isinstance(call.what, Claim | Turn) or not call.answer.records:
            continue
        queues = call.what.queues
        known = [
            (seen, queues.index(seen.queue), priorities[call.number, seen.key])
            for seen in call.answer.records
            if seen.queue in queues and (call.number, seen.key) in priorities and not seen.fault
        ]
        for first, second in pairwise(known):
            if second[1:] < first[1:]:
                text = f"{second[0].id} of queue {second[0].queue} came too late"
                yield Breach(text, (call,))
        worst = {seen.queue: rank for seen, _, rank in sorted(known, key=lambda one: one[2])}
        for queue, priority in worst.items():
            line = lines.get(queue)
            kept = None if line is None else line[priority].waits_during(call)
            if kept is not None:
                text = f"{kept.life} of a higher priority waited, and queue {queue} gave another"
                yield Breach(text, (kept.stored.call, call))


class _Line:
    """Jobs of one queue above a priority, by when they were stored, and who waited longest."""

    def __init__(self, turns: list[_Turn], below: Priority) -> None:
        mine = sorted(
            (turn for turn in turns if turn.stored.sent.priority < below),
            key=lambda turn: turn.stored.call.ended,
        )
        self._stored = [turn.stored.call.ended for turn in mine]
        self._longest: list[_Turn] = []
        for turn in mine:
            best = self._longest[-1] if self._longest else turn
            self._longest.append(turn if turn.taken > best.taken else best)

    def waits_during(self, call: Call) -> _Turn | None:
        """Return a job that surely waited while a claim was answered."""
        place = bisect_left(self._stored, call.begun)
        longest = self._longest[place - 1] if place else None
        if longest is None or longest.taken <= call.ended or longest.now > (call.answer.now or 0):
            return None
        return longest


@law("H19", "no job is claimed before it is due")
def nothing_before_it_is_due(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find a claim at an instant before the one that its enqueue or its last write named."""
    for life in facts.lives:
        for one in life.claims:
            due = _due(life, one.seen.fence - 1)
            if due is not None and one.seen.claimed < due[0]:
                text = f"{life} was claimed {due[0] - one.seen.claimed} ms before it was due"
                yield Breach(text, (due[1], one.call))


def _due(life: Life, fence: int) -> tuple[int, Call] | None:
    """Return when a job was due under a fence, and which call said so; None if that is not known."""
    if fence == life.begins:
        if len(life.stored) != 1 or life.spawned:
            return None
        told = life.stored[0].told
        if told is None or told.said is not Said.DONE:
            return None  # it was stored earlier, by a call that was asked twice
        sent, call = life.stored[0].sent, life.stored[0].call
        at, delay_ms = sent.at, sent.delay_ms
    else:
        wrote = [
            w for w in life.writes if w.put.fence == fence - 1 and w.put.is_change and w.is_possible
        ]
        if len(wrote) != 1 or wrote[0].put.keeps_due:
            return None
        put, call = wrote[0].put, wrote[0].call
        if not wrote[0].is_done:
            return None  # it was written earlier, by a call that was asked twice, or by another
        at, delay_ms = put.at, put.delay_ms
    if at is not None:
        return at, call
    return None if call.answer.now is None else (call.answer.now + delay_ms, call)
