"""Delays for every policy: within bounds, never falling before the cap, spread as named."""

from __future__ import annotations

from random import Random
from statistics import fmean

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import structs

from tests.support.factories import HALF
from tests.support.strategies import DURATIONS, RETRIES
from treadle.domain.retry import (
    Exponential,
    Fixed,
    Jitter,
    Linear,
    RetryPolicy,
    cap_ms,
    delay_ms,
)

FAILURES = st.integers(0, 200)
SEEDS = st.integers(0, 2**32)


def _with(policy: RetryPolicy, jitter: Jitter) -> RetryPolicy:
    return structs.replace(policy, jitter=jitter)


def _plain(policy: RetryPolicy, failures: int) -> int:
    return delay_ms(_with(policy, Jitter.NONE), failures, 0, HALF)


@pytest.mark.contract("F03")
@given(st.integers(0, 10**9), st.integers(0, 10**12), FAILURES)
def test_exponential_is_the_formula(base: int, cap: int, failures: int) -> None:
    policy = Exponential(base_ms=base, cap_ms=cap, jitter=Jitter.NONE)

    assert delay_ms(policy, failures, 0, HALF) == min(base * 2**failures, cap)


@pytest.mark.contract("F03", "F04")
@given(RETRIES, FAILURES, DURATIONS, SEEDS)
def test_a_delay_lies_between_zero_and_the_cap(
    policy: RetryPolicy, failures: int, previous: int, seed: int
) -> None:
    assert 0 <= delay_ms(policy, failures, previous, Random(seed)) <= cap_ms(policy)


@pytest.mark.contract("F03")
@given(RETRIES, FAILURES)
def test_growing_policies_never_fall(policy: RetryPolicy, failures: int) -> None:
    assume(isinstance(policy, Fixed | Linear | Exponential))

    assert _plain(policy, failures) <= _plain(policy, failures + 1) <= cap_ms(policy)


@pytest.mark.contract("F03")
@given(st.integers(0, 10**9), st.integers(0, 10**12), st.integers(0, 10**12), FAILURES, SEEDS)
def test_a_higher_cap_never_shortens_a_delay(
    base: int, one: int, other: int, failures: int, seed: int
) -> None:
    lower, higher = sorted((one, other))

    delays = [
        delay_ms(Exponential(base_ms=base, cap_ms=cap, jitter=jitter), failures, 0, Random(seed))
        for jitter in Jitter
        for cap in (lower, higher)
    ]

    assert all(short <= long for short, long in zip(delays[::2], delays[1::2], strict=True))


@pytest.mark.contract("F04")
@given(RETRIES, FAILURES, SEEDS)
def test_full_jitter_lies_between_zero_and_the_delay(
    policy: RetryPolicy, failures: int, seed: int
) -> None:
    drawn = delay_ms(_with(policy, Jitter.FULL), failures, 0, Random(seed))

    assert 0 <= drawn <= _plain(policy, failures)


@pytest.mark.contract("F04")
@given(RETRIES, FAILURES, SEEDS)
def test_equal_jitter_lies_between_half_the_delay_and_the_delay(
    policy: RetryPolicy, failures: int, seed: int
) -> None:
    drawn = delay_ms(_with(policy, Jitter.EQUAL), failures, 0, Random(seed))

    assert _plain(policy, failures) // 2 <= drawn <= _plain(policy, failures)


@pytest.mark.contract("F04")
@given(st.integers(1, 10**6), st.integers(0, 10**9), st.integers(1, 10**7), FAILURES, SEEDS)
def test_decorrelated_jitter_lies_between_base_and_thrice_the_delay_before(
    base: int, more: int, previous: int, failures: int, seed: int
) -> None:
    policy = Exponential(base_ms=base, cap_ms=base + more, jitter=Jitter.DECORRELATED)

    drawn = delay_ms(policy, failures, previous, Random(seed))

    assert base <= drawn <= min(max(base, previous * 3), base + more)


@pytest.mark.contract("F04")
@pytest.mark.parametrize(
    ("jitter", "previous", "low", "high"),
    [
        (Jitter.FULL, 0, 0, 8_000),
        (Jitter.EQUAL, 0, 4_000, 8_000),
        (Jitter.DECORRELATED, 4_000, 1_000, 12_000),
    ],
)
def test_what_is_drawn_is_uniform(jitter: Jitter, previous: int, low: int, high: int) -> None:
    policy = Exponential(base_ms=1_000, jitter=jitter)
    rng = Random(20_260_101)
    tenth = (high - low) / 10

    drawn = [delay_ms(policy, 3, previous, rng) for _ in range(20_000)]

    per_tenth = [0] * 10
    for delay in drawn:
        per_tenth[min(int((delay - low) / tenth), 9)] += 1
    # 2,000 each; five standard deviations of a binomial with p = 1/10 are 212
    assert all(abs(count - 2_000) < 212 for count in per_tenth), per_tenth
    assert abs(fmean(drawn) - (low + high) / 2) < (high - low) / 60


@pytest.mark.contract("F04")
def test_jobs_that_failed_together_do_not_return_together() -> None:
    policy = Exponential(base_ms=1_000, jitter=Jitter.EQUAL)
    rng = Random(7)

    drawn = {delay_ms(policy, 5, 0, rng) for _ in range(1_000)}

    assert len(drawn) > 900


@pytest.mark.contract("F04")
@given(SEEDS)
def test_a_chain_of_decorrelated_delays_stays_between_base_and_cap(seed: int) -> None:
    policy = Exponential(base_ms=100, cap_ms=60_000, jitter=Jitter.DECORRELATED)
    rng, previous = Random(seed), 0

    for failures in range(30):
        previous = delay_ms(policy, failures, previous, rng)

        assert 100 <= previous <= 60_000
