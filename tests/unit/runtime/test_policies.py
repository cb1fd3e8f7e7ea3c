"""Retry policies as users write them become values of the domain."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from treadle.domain.job import DEFAULT_POLICY, OnCrash, Policy
from treadle.domain.retry import Delays, Exponential, Fixed, Jitter, Linear
from treadle.errors import ConfigurationError
from treadle.runtime.policies import amended, delays, exponential, fixed, linear


@pytest.mark.contract("F02")
@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2), (5, 6)])
def test_a_number_of_retries_gives_one_attempt_more(retries: int, attempts: int) -> None:
    assert amended(Policy(), retry=retries).max_attempts == attempts


def test_what_is_left_out_stays_and_nothing_given_is_the_same_object() -> None:
    policy = Policy(max_attempts=2, timeout_ms=7)

    assert amended(policy) is policy
    assert amended(policy, retry=9).timeout_ms == 7


@pytest.mark.contract("F03")
def test_each_kind_of_retry_becomes_its_value() -> None:
    assert exponential(base=2, cap=60, jitter="full").policy == Exponential(
        base_ms=2_000, cap_ms=60_000, jitter=Jitter.FULL
    )
    assert linear(0.5).policy == Linear(base_ms=500)
    assert fixed(timedelta(seconds=3), jitter="equal").policy == Fixed(
        delay_ms=3_000, jitter=Jitter.EQUAL
    )
    assert delays([1, 5, 30]).policy == Delays(delays_ms=(1_000, 5_000, 30_000))


def test_a_list_of_delays_is_one_retry_each_unless_more_are_asked_for() -> None:
    assert delays([1, 5]).retries == 2
    assert delays([1, 5], retries=9).retries == 9


def test_exceptions_are_named_by_their_qualified_names() -> None:
    retries = exponential(retry_on=(ConnectionError, "httpx.HTTPError"), give_up_on=ValueError)

    policy = amended(Policy(), retry=retries)

    assert policy.retry_on == ("builtins.ConnectionError", "httpx.HTTPError")
    assert policy.give_up_on == ("builtins.ValueError",)


def test_everything_else_about_a_policy_can_be_said() -> None:
    policy = amended(
        Policy(), timeout=30, on_crash="dead", retention=timedelta(days=1), dead_retention=None
    )

    assert policy.timeout_ms == 30_000
    assert policy.on_crash is OnCrash.DEAD
    assert policy.retention_ms == 86_400_000
    assert policy.dead_retention_ms is None
    assert amended(policy, timeout=None).timeout_ms == 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"retry": -1}, "retries must be 0"),
        ({"retry": True}, "retries must be 0"),
        ({"timeout": -5}, "timeout must be"),
        ({"retention": "1h"}, "retention must be"),
        ({"on_crash": "again"}, "on_crash 'again'"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        amended(DEFAULT_POLICY, **given)


def test_a_wrong_jitter_an_empty_list_and_a_wrong_exception_are_refused() -> None:
    wrong: Any = "some"
    with pytest.raises(ConfigurationError, match="none, full, equal, decorrelated"):
        exponential(jitter=wrong)
    with pytest.raises(ConfigurationError, match="empty"):
        delays([])
    wrong = 3
    with pytest.raises(ConfigurationError, match="retry_on takes exception classes"):
        fixed(1, retry_on=[wrong])
