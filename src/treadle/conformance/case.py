"""The registry of the cases: one named promise each, with an id that never changes."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum

from msgspec import Struct

from treadle.broker.base import Capability
from treadle.conformance.lab import Lab
from treadle.errors import ConfigurationError

Run = Callable[[Lab], Awaitable[None]]

LIMIT_MS = 10_000
"""How long a case may take if it does not say otherwise."""


class Level(StrEnum):
    """A slice of the cases; each contains those before it."""

    CORE = "core"
    """What every worker needs of a broker. No capabilities, no skips."""
    FLOW = "flow"
    """Jobs that depend on others: follow-ups, parents, unique keys, concurrency keys. No skips either."""
    PUSH = "push"
    """What `Capability.PUSH` promises: waiting calls wake at once."""

    @property
    def slices(self) -> tuple[Level, ...]:
        """Return the levels that this one contains."""
        every = tuple(Level)
        return every[: every.index(self) + 1]


class Case(Struct, frozen=True, kw_only=True):
    """One promise of the protocol, and how it is shown."""

    id: str
    """Stands in reports and docs; it is never given to another case."""
    title: str
    """The promise, as a sentence."""
    run: Run
    promises: tuple[int, ...] = ()
    """The numbers of the guarantees that it shows."""
    level: Level = Level.CORE
    needs: frozenset[Capability] = frozenset()
    """Without these the broker has not promised it, and the case is skipped."""
    limit_ms: int = LIMIT_MS
    """It has failed if it takes longer; three times as long where it really has to wait."""

    @property
    def group(self) -> str:
        """Return the word for the operations that it is about."""
        return self.run.__module__.rpartition(".")[2]


_cases: dict[str, Case] = {}


def case(
    id: str,
    title: str,
    *,
    promises: Iterable[int] = (),
    level: Level | str = Level.CORE,
    needs: Iterable[Capability] = (),
    limit_ms: int = LIMIT_MS,
) -> Callable[[Run], Run]:
    """Register the function below as the case of this id.

    Raises:
        ValueError: if the id is taken.
    """

    def register(run: Run) -> Run:
        if id in _cases and _cases[id].run.__module__ != run.__module__:
            raise ValueError(f"case {id} is there already: {_cases[id].title}")
        _cases[id] = Case(
            id=id,
            title=title,
            run=run,
            promises=tuple(promises),
            level=Level(level),
            needs=frozenset(needs),
            limit_ms=limit_ms,
        )
        return run

    return register


def cases_of(level: Level | str = Level.PUSH) -> list[Case]:
    """Return the cases of a level, and of those that it contains, by id.

    Raises:
        ConfigurationError: if Python runs without assertions (`-O`): the cases are made of them.
    """
    if sys.flags.optimize:
        raise ConfigurationError("the cases need assertions: start Python without -O")
    package = importlib.import_module("treadle.conformance.cases")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    wanted = Level(level).slices
    return [each for _, each in sorted(_cases.items()) if each.level in wanted]
