"""In which order a worker asks its queues."""

from __future__ import annotations

import pytest

from tests.support.factories import HALF, Always, make_job
from treadle.domain.job import Priority
from treadle.domain.selection import Ordered, Weighted, names, order


@pytest.mark.contract("F23")
def test_ordered_queues_are_asked_as_listed() -> None:
    listed = ("critical", "default", "low")

    assert tuple(order(Ordered(listed), HALF)) == listed


def test_a_heavier_queue_goes_first_when_chance_is_the_same_for_all() -> None:
    weighted = Weighted((("low", 1.0), ("high", 5.0)))

    assert list(order(weighted, HALF)) == ["high", "low"]


def test_every_weighted_queue_is_asked_in_every_round() -> None:
    weighted = Weighted((("a", 1.0), ("b", 1e-9), ("c", 1e9)))

    assert sorted(order(weighted, Always(0.0))) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "selection", [Ordered(("a", "b", "a")), Weighted((("a", 1.0), ("b", 2.0)))]
)
def test_the_names_of_a_selection_stand_once_as_given(selection: Ordered | Weighted) -> None:
    assert names(selection) == ("a", "b")


@pytest.mark.contract("F22")
def test_priorities_sort_from_critical_to_low() -> None:
    assert [priority.name for priority in sorted(Priority)] == [
        "CRITICAL",
        "HIGH",
        "MEDIUM",
        "LOW",
    ]


@pytest.mark.contract("F22")
def test_medium_is_the_default_priority() -> None:
    assert make_job().priority is Priority.MEDIUM
