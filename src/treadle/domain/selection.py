"""In which order a worker asks its queues: strictly as listed, or by weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from msgspec import Struct

from treadle.domain.retry import Rng


class Ordered(Struct, frozen=True):
    """Ask the queues strictly in the order given; a later one is served when all before are empty."""

    queues: tuple[str, ...]


class Weighted(Struct, frozen=True):
    """Ask a queue first with a chance that is proportional to its weight (a positive number)."""

    weights: tuple[tuple[str, float], ...]


Selection = Ordered | Weighted


def names(selection: Selection) -> tuple[str, ...]:
    """Return the queues of a selection, each once, in the order they were given."""
    match selection:
        case Ordered():
            return tuple(dict.fromkeys(selection.queues))
        case Weighted():
            return tuple(name for name, _ in selection.weights)
        case _:
            assert_never(selection)


def order(selection: Selection, rng: Rng) -> Sequence[str]:
    """Choose the order in which the next claim asks the queues.

    Weighted orders are drawn without replacement: each queue gets the key `u ** (1 / weight)` and
    the largest key goes first (Efraimidis and Spirakis, "Weighted random sampling with a
    reservoir", 2006).
    """
    match selection:
        case Ordered():
            return selection.queues
        case Weighted():
            keyed = [(rng.random() ** (1.0 / weight), name) for name, weight in selection.weights]
            keyed.sort(key=lambda pair: pair[0], reverse=True)
            return [name for _, name in keyed]
        case _:
            assert_never(selection)
