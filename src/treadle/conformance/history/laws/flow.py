"""What must be true of unique keys, parents, concurrency keys, handlers and their steps."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator

from msgspec import Struct

from treadle.conformance.history.events import NEVER_ENDED, Call, How, Key, Limit, Sent
from treadle.conformance.history.facts import Claimed, Facts, Life, is_retry
from treadle.conformance.history.laws.registry import Breach, Terms, law
from treadle.domain.state import FINAL
from treadle.domain.unique import Scope


class _Hold(Struct, gc=False):
    """From where to where a job surely held its unique key."""

    life: Life
    call: Call
    since: float
    until: float
    until_ms: int
    """For a key that is held for a period: until which instant."""


@law("H14", "the holders of a unique key never overlap")
def key_holders_never_overlap(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find two jobs of a queue that surely held one key at the same time."""
    held: dict[Key, list[_Hold]] = defaultdict(list)
    lost = sorted(call.begun for call in facts.lost_claims)
    for life in facts.lives:
        sent = life.sent
        if sent is None or not sent.unique:
            continue
        for one in life.stored:
            if one.told is not None and one.told.said == "done":
                held[sent.queue, sent.unique].append(_hold(life, sent, one.call, 0, lost))
        for wrote in life.writes:
            if wrote.is_done and is_retry(wrote.put):
                hold = _hold(life, sent, wrote.call, wrote.put.fence, lost)
                held[sent.queue, sent.unique].append(hold)
    for (_queue, key), holds in held.items():
        last: _Hold | None = None
        for hold in sorted(holds, key=lambda hold: hold.since):
            if hold.until <= hold.since:
                continue
            if last is not None and last.life is not hold.life and _overlap(last, hold):
                text = f"{last.life} and {hold.life} held the key {key!r} at the same time"
                yield Breach(text, (last.call, hold.call))
            if last is None or hold.until > last.until:
                last = hold


def _hold(life: Life, sent: Sent, call: Call, fence: int, lost: list[int]) -> _Hold:
    frees: list[float] = [
        wrote.call.begun
        for wrote in life.writes
        if wrote.is_possible
        and wrote.put.fence > fence
        and (wrote.put.new_body is not None or wrote.put.state in FINAL)
    ]
    until_ms = 0
    if sent.scope is Scope.WAITING:
        frees += [one.call.begun for one in life.claims if one.seen.fence > fence]
        place = bisect_right(lost, call.begun)
        frees += lost[place : place + 1]
    elif sent.scope is Scope.PERIOD:
        until_ms = (call.answer.now or 0) + sent.period_ms
        frees = [w.call.begun for w in life.writes if w.put.new_body is not None]
    return _Hold(life, call, call.ended, min(frees, default=NEVER_ENDED), until_ms)


def _overlap(first: _Hold, second: _Hold) -> bool:
    if second.since >= first.until:
        return False
    if not first.until_ms:
        return True
    sure = first.since < second.call.begun
    return sure and (second.call.answer.now or first.until_ms) < first.until_ms


@law("H20", "no job is claimed before its parents are final")
def parents_come_first(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find a claim of a job while one that it waits for had surely not ended."""
    for life in facts.lives:
        sent = life.sent
        if sent is None or not sent.after or not life.claims:
            continue
        first = min(life.claims, key=lambda one: one.seen.fence)
        if any(is_retry(w.put) and w.put.fence < first.seen.fence for w in life.writes):
            continue  # an operator's retry waits for nobody
        for key in sent.after:
            parents = facts.lives_of(key)
            if not any(parent.accepted() for parent in parents):
                continue
            ended = [wrote.call.begun for parent in parents for wrote in parent.final_writes()]
            ended += [
                sight.call.begun
                for parent in parents
                for sight in parent.sights
                if sight.seen.forgotten or sight.seen.state in FINAL
            ]
            if min(ended, default=NEVER_ENDED) > first.call.ended:
                text = f"{life} was claimed before {key[1]} was final"
                yield Breach(text, (first.call,))


@law("H21", "no more jobs of a concurrency key run than its limit allows")
def limits_hold(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find a claim after which more jobs of a key surely ran than the limit that surely stood."""
    running: dict[str, list[tuple[float, float, Claimed]]] = defaultdict(list)
    for life in facts.lives:
        for one in life.claims:
            if one.seen.slot in facts.limits:
                running[one.seen.slot].append((one.call.ended, _let_go(life, one), one))
    for slot, spans in running.items():
        limits = _Limits(facts.limits[slot])
        # Ends come before begins at one place: what may have stopped does not count.
        points = [(since, 1, one) for since, until, one in spans if since < until]
        points += [(until, 0, one) for since, until, one in spans if since < until]
        count = 0
        for position, begins, one in sorted(points, key=lambda point: point[:2]):
            count += 1 if begins else -1
            limit = limits.during(one.call) if begins else None
            if limit is not None and count > limit:
                text = f"{count} jobs of {slot!r} ran at {position:.0f}, and {limit} may"
                yield Breach(text, (one.call,))


def _let_go(life: Life, one: Claimed) -> float:
    """Return from where on a claimed job may run no longer."""
    fence = one.seen.fence
    ends: list[float] = [
        w.call.begun
        for w in life.writes
        if w.put.fence == fence and w.put.is_change and w.is_possible
    ]
    ends += [other.call.begun for other in life.claims if other.seen.fence > fence]
    return min(ends, default=NEVER_ENDED)


class _Limits:
    """The limit of a concurrency key, where it is surely known."""

    def __init__(self, calls: list[Call]) -> None:
        self._calls = sorted(calls, key=lambda call: call.begun)
        self._next = 0
        self._open = 0.0
        self._last: Call | None = None

    def during(self, claim: Call) -> int | None:
        """Return the limit that stood from the begin to the end of a claim; None: none, or not known.

        Claims must come in the order of their ends.
        """
        calls = self._calls
        while self._next < len(calls) and calls[self._next].begun < claim.ended:
            call = calls[self._next]
            certain = call.how is How.OK and call.begun > self._open
            self._open = max(self._open, call.ended)
            self._last = call if certain else None
            self._next += 1
        last = self._last
        if last is None or last.ended >= claim.begun or not isinstance(last.what, Limit):
            return None
        return last.what.running


@law("H18", "one claim starts one run")
def one_run_for_a_claim(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find a handler that ran twice for one claim, or without one."""
    for life in facts.lives:
        claims = {one.seen.fence: one.call for one in life.claims}
        runs: dict[int, Call] = {}
        for call in sorted(life.runs, key=lambda call: call.begun):
            fence: int = getattr(call.what, "fence", 0)
            claim = claims.get(fence)
            if fence in runs:
                yield Breach(f"{life} ran twice with the fence {fence}", (runs[fence], call))
            elif claim is None or claim.ended > call.begun:
                yield Breach(f"{life} ran with the fence {fence}, which nobody was given", (call,))
            runs[fence] = call


@law("H28", "a step is written once")
def steps_are_written_once(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find a step that was written twice, or an answer that does not show what was written first."""
    for life in facts.lives:
        if not life.steps:
            continue
        first: dict[str, tuple[int, Call]] = {}
        lost = {step.name for call, step, _ in life.steps if call.how is not How.OK}
        for call, step, existing in life.steps:
            if existing is None and call.how is How.OK:
                if step.name in first:
                    text = f"the step {step.name!r} of {life} was written twice"
                    yield Breach(text, (first[step.name][1], call))
                first[step.name] = step.data, call
        for call, step, existing in life.steps:
            if existing is None or existing == -1 or step.name in lost or step.name not in first:
                continue
            if existing != first[step.name][0]:
                text = f"the step {step.name!r} of {life} is not what was written first"
                yield Breach(text, (first[step.name][1], call))
