"""The laws that every history keeps, whatever was lost, late or doubled on the way.

They assume that every client of the store wrote the history, and that the last scan was made when
nothing else happened. Where the history does not tell what happened, they are lenient: what they
find is broken. Each takes time in proportion to the length of the history, sorting aside.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from treadle.conformance.history.events import Call
from treadle.conformance.history.facts import Facts
from treadle.conformance.history.laws import fences, flow, jobs, leases, order
from treadle.conformance.history.laws.registry import REGISTERED, Law, Terms, Violation

MODULES = (jobs, fences, leases, order, flow)
LAWS: tuple[Law, ...] = tuple(REGISTERED[name] for name in sorted(REGISTERED))
MOST = 20
"""So many violations of one law are told at most."""


def check(
    calls: Iterable[Call],
    *,
    drained: bool = False,
    bound_ms: int | None = None,
    ticks: Collection[str] = (),
    laws: Collection[str] | None = None,
) -> list[Violation]:
    """Judge a history; return what breaks a law, at most 20 violations of each.

    `drained`: every accepted job must be final at the last scan. `bound_ms`: how soon after the last
    renewal of a dead worker's lease its jobs must start again. `ticks`: ids of ticks of schedules
    that must have been accepted. `laws`: the ids of those that are judged; None: all.
    """
    facts = Facts(calls)
    terms = Terms(drained=drained, bound_ms=bound_ms, ticks=frozenset(ticks))
    judged = [one for one in LAWS if laws is None or one.id in laws]
    return [violation for one in judged for violation in _some(one, facts, terms)]


def _some(one: Law, facts: Facts, terms: Terms) -> Iterator[Violation]:
    for number, breach in enumerate(one.judge(facts, terms)):
        if number == MOST:
            return
        yield Violation(law=one.id, title=one.title, text=breach.text, calls=breach.calls)


__all__ = ["LAWS", "MODULES", "Law", "Terms", "Violation", "check"]
