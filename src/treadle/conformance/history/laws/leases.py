"""What must be true of sessions and their leases, in broker time.

Where the store's clock was set back in between, nothing is judged: a lease is then cut to one lease
from the new now.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import pairwise, zip_longest

from treadle.conformance.history.events import Call, Claim, How, Open, Seen, Turn
from treadle.conformance.history.facts import Claimed, Facts, Life, Tenure, Wrote
from treadle.conformance.history.laws.registry import Breach, Terms, law
from treadle.domain.state import FINAL, Event, State

_LOSE = Event.LOSE.value


class _Leases:
    """When the lease of each session was over for a while."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._gaps: dict[str, tuple[list[int], list[float]]] = {}
        self._renewed: dict[str, list[int]] = {}

    def was_free(self, tenure: Tenure, since: int, until: int, call: Call) -> bool:
        """Tell whether a session may have held nothing at some instant; `call` is who acted on it."""
        if tenure.may_end_unheard < call.ended:
            return True
        if tenure.ended is not None and tenure.ended[1] <= until:
            return True
        begins, ends = self._gaps_of(tenure)
        place = bisect_right(begins, until)
        return place > 0 and ends[place - 1] > since

    def last_renewal(self, tenure: Tenure, until: int) -> int:
        """Return when the lease last began again at or before an instant."""
        renewed = self._renewed_of(tenure)
        place = bisect_right(renewed, until)
        return renewed[place - 1] if place else renewed[0]

    def _renewed_of(self, tenure: Tenure) -> list[int]:
        renewed = self._renewed.get(tenure.id)
        if renewed is None:
            renewed = self._renewed[tenure.id] = tenure.renewed()
        return renewed

    def _gaps_of(self, tenure: Tenure) -> tuple[list[int], list[float]]:
        gaps = self._gaps.get(tenure.id)
        if gaps is None:
            renewed = self._renewed_of(tenure)
            begins: list[int] = []
            ends: list[float] = []
            for now, after in zip(renewed, [*renewed[1:], float("inf")], strict=True):
                if now + tenure.lease_ms <= after:
                    begins.append(now + tenure.lease_ms)
                    ends.append(after)
            gaps = self._gaps[tenure.id] = begins, ends
        return gaps


@law("H04", "two valid leases of a job never overlap")
def leases_never_overlap(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find a job that was claimed while the lease of its last claim was still good."""
    leases = _Leases(facts)
    for life in facts.lives:
        claims = sorted(life.claims, key=lambda one: one.seen.fence)
        for first, second in pairwise(claims):
            tenure = facts.tenures.get(first.seen.session)
            if tenure is None or facts.was_set_back(first.call.begun, second.call.ended):
                continue
            if not _let_go(leases, life, first, second, tenure):
                text = f"{life} was claimed while session {tenure.id} held it"
                yield Breach(text, (first.call, second.call))


def _let_go(leases: _Leases, life: Life, first: Claimed, second: Claimed, tenure: Tenure) -> bool:
    """Tell whether the holder of the first claim had let go, or lost its lease, before the second."""
    until = second.seen.claimed
    for wrote in life.writes:
        put = wrote.put
        if put.fence != first.seen.fence or not put.is_change or not wrote.is_possible:
            continue
        now = wrote.call.answer.now
        if put.event != _LOSE and (now is None or now <= until):
            return True
        if put.event == _LOSE and now is not None:
            until = min(until, now)
    return leases.was_free(tenure, first.seen.claimed, until, second.call)


@law("H09", "the jobs of a dead worker start again soon")
def restart_is_bounded(facts: Facts, terms: Terms) -> Iterator[Breach]:
    """Find a lost attempt that was followed by the next one too late, or by none until the scan."""
    if terms.bound_ms is None:
        return
    leases = _Leases(facts)
    found = {} if facts.scan is None else {one.key: one for one in facts.scan.answer.records}
    for life in facts.lives:
        claims = sorted(life.claims, key=lambda one: one.seen.fence)
        for first, second in zip_longest(claims, claims[1:]):
            tenure = facts.tenures.get(first.seen.session)
            ends = [
                w
                for w in life.writes
                if w.put.fence == first.seen.fence and w.put.is_change and w.is_possible
            ]
            if tenure is None or any(wrote.put.event != _LOSE for wrote in ends):
                continue
            again = _began_again(facts, found.get(life.key), second, ends)
            if again is None:
                continue
            last = leases.last_renewal(tenure, _lost_at(ends, again))
            if again - last > terms.bound_ms:
                calls = (first.call,) if second is None else (first.call, second.call)
                yield Breach(f"{life} did not start again for {again - last} ms", calls)


def _lost_at(ends: list[Wrote], again: int) -> int:
    return min([wrote.call.answer.now or again for wrote in ends], default=again)


def _began_again(
    facts: Facts, seen: Seen | None, second: Claimed | None, ends: list[Wrote]
) -> int | None:
    """Return when the next attempt began, or the end of the history if it did not."""
    if second is not None:
        return second.seen.claimed if ends or second.seen.lost else None
    if facts.scan is None or any(wrote.put.state in FINAL for wrote in ends):
        return None
    if seen is None or seen.forgotten or seen.state in FINAL:
        return None
    return facts.scan.answer.now


@law("H15", "only what nobody holds is overdue")
def only_what_nobody_holds_is_overdue(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find a running job that `overdue` named though its lease was good.

    What it says of the session must be true, and jobs are inherited by the next of that name only.
    """
    for look in facts.looks:
        for seen in look.answer.records if look.how is How.OK else ():
            tenure = facts.tenures.get(seen.session)
            if tenure is None or seen.state is not State.RUNNING:
                continue
            if tenure.ended is not None and tenure.ended[0] < look.begun:
                if not seen.session_ended:
                    yield Breach(f"session {tenure.id} had ended, and is said to live", (look,))
            elif tenure.may_end > look.ended and _is_good(facts, tenure, look):
                text = f"{seen.id} of queue {seen.queue} is overdue while {tenure.id} holds it"
                yield Breach(text, (tenure.opened, look))
    for call in facts.calls:
        if not isinstance(call.what, Open):
            continue
        for seen in call.answer.records:
            tenure = facts.tenures.get(seen.session)
            if tenure is not None and tenure.name != call.what.name:
                text = f"{seen.id} was inherited from {tenure.name} by {call.what.name}"
                yield Breach(text, (call,))


def _is_good(facts: Facts, tenure: Tenure, look: Call) -> bool:
    """Tell whether the lease of a session was surely good when `overdue` was answered."""
    place = bisect_left([beat.ended for beat in tenure.beats], look.begun)
    last = tenure.beats[place - 1] if place else tenure.opened
    if last.ended >= look.begun or facts.was_set_back(tenure.opened.begun, look.ended):
        return False
    return (last.answer.now or 0) + tenure.lease_ms > (look.answer.now or 0)


@law("H27", "a session that has ended or expired claims nothing")
def only_living_sessions_claim(facts: Facts, _: Terms) -> Iterator[Breach]:
    """Find a claim that was answered with jobs after the session was over."""
    leases = _Leases(facts)
    for call in facts.calls:
        if not isinstance(call.what, Claim | Turn) or not call.answer.records:
            continue
        tenure = facts.tenures.get(call.what.session)
        if tenure is None:
            continue
        if tenure.ended is not None and tenure.ended[0] < call.begun:
            yield Breach(f"session {tenure.id} claimed after it had ended", (call,))
            continue
        claimed = call.answer.records[0].claimed
        if call.ended < tenure.unsure and not facts.was_set_back(tenure.opened.begun, call.ended):
            last = leases.last_renewal(tenure, claimed)
            if last + tenure.lease_ms <= claimed:
                text = f"session {tenure.id} claimed {claimed - last} ms after its last renewal"
                yield Breach(text, (call,))
