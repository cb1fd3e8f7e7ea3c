"""What must be true of fences, attempts, and the writes that carry them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from treadle.conformance.history.events import Call, Find, Said, Seen
from treadle.conformance.history.facts import Claimed, Facts, Life, Wrote
from treadle.conformance.history.laws.registry import Breach, Terms, law
from treadle.domain.state import FINAL, State


class _Rising:
    """The highest fence of a job id that was known before a position of the history."""

    def __init__(self, lives: Sequence[Life]) -> None:
        known = [(call.ended, fence, call) for life in lives for call, fence, _ in _shown(life)]
        known += [
            (wrote.call.ended, wrote.put.fence + wrote.put.is_change, wrote.call)
            for life in lives
            for wrote in life.writes
            if wrote.is_done
        ]
        self._known = sorted(known, key=lambda one: one[0])
        self._next = 0
        self._highest: tuple[int, Call] | None = None

    def before(self, position: float) -> tuple[int, Call] | None:
        """Return it, and who saw it; positions must be asked for in rising order."""
        while self._next < len(self._known) and self._known[self._next][0] < position:
            _, fence, call = self._known[self._next]
            if self._highest is None or fence > self._highest[0]:
                self._highest = fence, call
            self._next += 1
        return self._highest


def _shown(life: Life) -> Iterator[tuple[Call, int, bool]]:
    """Yield who was told of a fence, and whether nobody can have been told of it before."""
    for one in life.stored:
        if one.told is not None and one.told.said is Said.DONE:
            yield one.call, one.told.fence, True
    for claim in life.claims:
        yield claim.call, claim.seen.fence, True
    for sight in life.sights:
        if not isinstance(sight.call.what, Find):
            yield sight.call, sight.seen.fence, False


@law("H05", "fences only grow")
def fences_grow(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find a claim or a new record with a fence that was there before, or a fence that fell.

    A write must raise it by one.
    """
    for life in facts.lives:
        claims: dict[int, Call] = {}
        for one in life.claims:
            other = claims.setdefault(one.seen.fence, one.call)
            if other is not one.call or _twice(life, one):
                text = f"{life} was claimed twice with the fence {one.seen.fence}"
                yield Breach(text, (other, one.call))
        rising = _Rising(facts.lives_of(life.key))
        for call, fence, is_new in sorted(_shown(life), key=lambda each: each[0].begun):
            known = rising.before(call.begun)
            if known is not None and fence < known[0] + is_new:
                text = f"{life} has the fence {fence} after {known[0]}"
                yield Breach(text, (known[1], call))
        for wrote in life.writes:
            wanted = wrote.put.fence + wrote.put.is_change
            if wrote.told is not None and wrote.is_done and wrote.told.fence != wanted:
                text = (
                    f"a write of {life} under {wrote.put.fence} left the fence {wrote.told.fence}"
                )
                yield Breach(text, (wrote.call,))


def _twice(life: Life, one: Claimed) -> bool:
    """Tell whether one claim gave the same job more than once."""
    return one.place > 0 and any(
        other.call is one.call and other.place < one.place for other in life.claims
    )


@law("H06", "attempts are counted as decided, and never exceed the policy")
def attempts_are_counted(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find a claim with more attempts than the policy allows, or one that does not add one."""
    for life in facts.lives:
        sent = life.sent
        changes = [w for w in life.writes if w.put.is_change and w.is_possible]
        for one in life.claims:
            seen = one.seen
            if sent is not None and seen.attempt > max(sent.max_attempts, 1):
                text = f"{life} begins attempt {seen.attempt} of {sent.max_attempts}"
                yield Breach(text, (one.call,))
            before = _attempts_before(life, changes, seen)
            if before is not None and seen.attempt != before + 1 and not seen.lost:
                text = f"{life} begins attempt {seen.attempt} after {before} were counted"
                yield Breach(text, (one.call,))


def _attempts_before(life: Life, changes: list[Wrote], claimed: Seen) -> int | None:
    """Return how many attempts were counted before a claim; None if that is not known."""
    earlier = [wrote for wrote in changes if wrote.put.fence + 1 < claimed.fence]
    last = max(earlier, key=lambda wrote: wrote.put.fence, default=None)
    fence, attempts = (0, 0) if last is None else (last.put.fence + 1, last.put.attempt)
    unseen = any(fence <= one.seen.fence < claimed.fence for one in life.claims)
    unsure = any(wrote.told is None and wrote.put.fence + 1 >= fence for wrote in earlier)
    return None if unseen or unsure else attempts


@law("H08", "a stale fence writes nothing")
def a_stale_fence_writes_nothing(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find an accepted write under a fence that had been passed, or two under the same one."""
    for life in facts.lives:
        done = sorted((w for w in life.writes if w.is_done), key=lambda wrote: wrote.call.begun)
        rising = _Rising(facts.lives_of(life.key))
        used: dict[int, Call] = {}
        for wrote in done:
            put, call = wrote.put, wrote.call
            known = rising.before(call.begun)
            if put.is_change and put.fence in used:
                text = f"two changes of {life} were accepted under the fence {put.fence}"
                yield Breach(text, (used[put.fence], call))
            elif known is not None and known[0] > put.fence:
                text = f"{put.event} of {life} under {put.fence} was accepted after {known[0]}"
                yield Breach(text, (known[1], call))
            if put.is_change:
                used[put.fence] = call


@law("H17", "a fence names one head")
def a_fence_names_one_head(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find two answers that show different heads of a job under one fence."""
    for life in facts.lives:
        written: dict[int, set[tuple[State | None, int]]] = {}
        sure: set[int] = set()
        for wrote in life.writes:
            if wrote.put.is_change and wrote.is_possible:
                heads = written.setdefault(wrote.put.fence + 1, set())
                heads.add((wrote.put.state, wrote.put.attempt))
                if wrote.is_done:
                    sure.add(wrote.put.fence + 1)
        shown: dict[int, tuple[Seen, Call]] = {}
        for one in (*life.claims, *life.sights):
            seen = one.seen
            if seen.forgotten or seen.fault:
                continue
            first, call = shown.setdefault(seen.fence, (seen, one.call))
            if _head(first) != _head(seen):
                text = f"{life} is shown with two heads under the fence {seen.fence}"
                yield Breach(text, (call, one.call))
            heads = written.get(seen.fence, set())
            claimed = seen.state is State.RUNNING and seen.fence not in sure
            if heads and not claimed and (seen.state, seen.attempt) not in heads:
                text = f"{life} is {seen.state.name.lower()} and not as it was written"
                yield Breach(text, (one.call,))


def _head(seen: Seen) -> tuple[State, int, int, str]:
    return seen.state, seen.attempt, seen.claimed, seen.session


@law("H22", "a cancel request stands")
def a_cancel_request_stands(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find a job that was to be cancelled and was allowed to go on all the same."""
    for life in facts.lives:
        asked = {
            wrote.put.fence: wrote.call
            for wrote in life.writes
            if wrote.is_done and wrote.put.event == "cancel_request"
        }
        for wrote in life.writes:
            request = asked.get(wrote.put.fence)
            if request is None or not wrote.is_done or request.ended >= wrote.call.begun:
                continue
            if wrote.put.is_change and wrote.put.state not in FINAL:
                text = f"{life} was to be cancelled, and {wrote.put.event} let it wait again"
                yield Breach(text, (request, wrote.call))


@law("H25", "only what waits is claimed")
def only_what_waits_is_claimed(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find a claim of a job that was running or blocked under the fence before."""
    for life in facts.lives:
        claims = {one.seen.fence: one.call for one in life.claims}
        blocked = {
            wrote.put.fence + 1: wrote.call
            for wrote in life.writes
            if wrote.is_done and wrote.put.state is State.BLOCKED
        }
        begins = life.begins
        if life.sent is not None and life.sent.after and begins is not None:
            blocked[begins] = life.stored[0].call
        for one in life.claims:
            before = one.seen.fence - 1
            if one.seen.lost:
                continue
            if before in claims:
                yield Breach(f"{life} was claimed while it ran", (claims[before], one.call))
            elif before in blocked:
                yield Breach(f"{life} was claimed while blocked", (blocked[before], one.call))
            elif before < 1:
                yield Breach(f"{life} was claimed with the fence {one.seen.fence}", (one.call,))


@law("H26", "a write under the right fence is not refused")
def a_right_fence_is_not_refused(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find a conflict whose record shows that the write had to be accepted."""
    for life in facts.lives:
        for wrote in life.writes:
            if wrote.told is None or wrote.told.said is not Said.CONFLICT:
                continue
            seen = wrote.told.seen
            if seen is None:
                accepted = life.accepted()
                known = accepted is not None and accepted.ended < wrote.call.begun
                if known and not life.shows_end():
                    yield Breach(f"{life} was accepted, and a write met nothing", (wrote.call,))
            elif not seen.forgotten and _accepts(seen, wrote):
                event, fence = wrote.put.event, wrote.put.fence
                yield Breach(f"{event} of {life} under {fence} was refused", (wrote.call,))


def _accepts(seen: Seen, wrote: Wrote) -> bool:
    put = wrote.put
    if seen.fence != put.fence:
        return False
    if put.is_change:
        return put.state in FINAL or not seen.cancel
    return seen.state in FINAL if put.event == "removal" else seen.state is State.RUNNING
