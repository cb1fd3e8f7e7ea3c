"""Orders of queues: always all of them, as listed or as often first as their weight says."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import NAMES
from treadle.domain.selection import Ordered, Weighted, names, order

QUEUES = st.lists(NAMES, min_size=1, max_size=6, unique=True)
SEEDS = st.integers(0, 2**32)


@pytest.mark.contract("F23")
@given(QUEUES, SEEDS)
def test_ordered_queues_are_always_asked_as_listed(queues: list[str], seed: int) -> None:
    assert list(order(Ordered(tuple(queues)), Random(seed))) == queues


@given(QUEUES, st.data(), SEEDS)
def test_a_weighted_round_asks_every_queue_once(
    queues: list[str], data: st.DataObject, seed: int
) -> None:
    weights = [data.draw(st.floats(1e-6, 1e6)) for _ in queues]
    selection = Weighted(tuple(zip(queues, weights, strict=True)))

    assert sorted(order(selection, Random(seed))) == sorted(names(selection)) == sorted(queues)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0), (7.0, 2.0, 1.0), (0.7, 0.2, 0.1)])
def test_a_queue_goes_first_as_often_as_its_weight_says(weights: tuple[float, ...]) -> None:
    selection = Weighted(tuple((f"queue-{n}", weight) for n, weight in enumerate(weights)))
    rng, rounds = Random(20_260_101), 20_000

    first = Counter(order(selection, rng)[0] for _ in range(rounds))

    for name, weight in selection.weights:
        share = weight / sum(weights)
        deviation = (share * (1 - share) / rounds) ** 0.5
        assert abs(first[name] / rounds - share) < 5 * deviation, (name, first)


def test_among_the_rest_the_weights_count_again() -> None:
    selection = Weighted((("a", 6.0), ("b", 3.0), ("c", 1.0)))
    rng = Random(20_260_101)

    orders = [tuple(order(selection, rng)) for _ in range(20_000)]

    after_a = [order[1] for order in orders if order[0] == "a"]
    assert after_a.count("b") / len(after_a) == pytest.approx(0.75, abs=0.02)
