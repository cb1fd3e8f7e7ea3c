"""What a law is: an id that never changes, a sentence, and a function that finds what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct

from treadle.conformance.history.events import Call
from treadle.conformance.history.facts import Facts


class Terms(Struct, frozen=True, kw_only=True):
    """What a law needs to know besides the history."""

    drained: bool = False
    """Every accepted job must be final at the scan."""
    bound_ms: int | None = None
    """How soon after the last renewal of a dead worker its jobs must start again; None: not judged."""
    ticks: frozenset[str] = frozenset()
    """Ids of ticks of schedules that must have been accepted."""


class Breach(Struct, frozen=True):
    """Where a history breaks a law: a sentence, and the calls that show it."""

    text: str
    calls: tuple[Call, ...] = ()


class Violation(Struct, frozen=True, kw_only=True):
    """A law that a history breaks."""

    law: str
    title: str
    text: str
    calls: tuple[Call, ...]

    def __str__(self) -> str:
        shown = "".join(f"\n    {call}" for call in self.calls)
        return f"{self.law} {self.title}: {self.text}{shown}"


Judge = Callable[[Facts, Terms], Iterator[Breach]]


class Law(Struct, frozen=True, kw_only=True):
    """One thing that holds for every history."""

    id: str
    title: str
    judge: Judge


REGISTERED: dict[str, Law] = {}


def law(id: str, title: str) -> Callable[[Judge], Judge]:
    """Register the function below as the law of this id."""

    def register(judge: Judge) -> Judge:
        REGISTERED[id] = Law(id=id, title=title, judge=judge)
        return judge

    return register
