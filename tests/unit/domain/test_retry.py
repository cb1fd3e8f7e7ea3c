"""Delays before the next attempt: plain examples of every shape and every jitter."""

from __future__ import annotations

import pytest

from tests.support.factories import Always
from treadle.domain.retry import (
    Delays,
    Exponential,
    Fixed,
    Jitter,
    Linear,
    RetryPolicy,
    cap_ms,
    delay_ms,
)

LOWEST, MIDDLE, HIGHEST = Always(0.0), Always(0.5), Always(1.0)


def _plain(policy: RetryPolicy, failures: int) -> int:
    return delay_ms(policy, failures, 0, MIDDLE)


def test_a_fixed_delay_is_always_the_same() -> None:
    assert [_plain(Fixed(delay_ms=700), n) for n in range(4)] == [700] * 4


def test_a_linear_delay_grows_by_its_base_up_to_its_cap() -> None:
    policy = Linear(base_ms=100, cap_ms=250)

    assert [_plain(policy, n) for n in range(4)] == [100, 200, 250, 250]


@pytest.mark.contract("F03")
def test_an_exponential_delay_doubles_up_to_its_cap() -> None:
    policy = Exponential(base_ms=100, cap_ms=1_000, jitter=Jitter.NONE)

    assert [_plain(policy, n) for n in range(6)] == [100, 200, 400, 800, 1_000, 1_000]


@pytest.mark.contract("F03")
def test_the_thousandth_failure_waits_for_the_cap() -> None:
    policy = Exponential(base_ms=100, cap_ms=1_000, jitter=Jitter.NONE)

    assert _plain(policy, 1_000) == 1_000


def test_the_last_of_a_list_of_delays_repeats() -> None:
    policy = Delays(delays_ms=(5, 50, 20))

    assert [_plain(policy, n) for n in range(5)] == [5, 50, 20, 20, 20]


@pytest.mark.contract("F04")
@pytest.mark.parametrize(
    ("jitter", "low", "middle", "high"),
    [
        (Jitter.NONE, 400, 400, 400),
        (Jitter.FULL, 0, 200, 400),
        (Jitter.EQUAL, 200, 300, 400),
    ],
)
def test_jitter_replaces_the_delay_and_is_not_added_to_it(
    jitter: Jitter, low: int, middle: int, high: int
) -> None:
    policy = Exponential(base_ms=100, jitter=jitter)

    drawn = [delay_ms(policy, 2, 0, rng) for rng in (LOWEST, MIDDLE, HIGHEST)]

    assert drawn == [low, middle, high]


@pytest.mark.contract("F04")
def test_decorrelated_jitter_draws_between_the_base_and_thrice_the_delay_before() -> None:
    policy = Exponential(base_ms=100, cap_ms=10_000, jitter=Jitter.DECORRELATED)

    drawn = [delay_ms(policy, 9, 500, rng) for rng in (LOWEST, MIDDLE, HIGHEST)]

    assert drawn == [100, 800, 1_500]


@pytest.mark.contract("F04")
def test_the_first_decorrelated_delay_starts_from_the_base() -> None:
    policy = Exponential(base_ms=100, jitter=Jitter.DECORRELATED)

    assert delay_ms(policy, 0, 0, HIGHEST) == 300


@pytest.mark.contract("F04")
def test_decorrelated_jitter_is_capped() -> None:
    policy = Exponential(base_ms=100, cap_ms=1_000, jitter=Jitter.DECORRELATED)

    assert delay_ms(policy, 0, 900, HIGHEST) == 1_000


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Fixed(delay_ms=5), 5),
        (Linear(base_ms=1, cap_ms=6), 6),
        (Exponential(base_ms=1, cap_ms=7), 7),
        (Delays(delays_ms=(1, 8, 2)), 8),
    ],
)
def test_every_policy_knows_its_longest_delay(policy: RetryPolicy, expected: int) -> None:
    assert cap_ms(policy) == expected
