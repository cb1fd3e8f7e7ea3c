"""Durations and instants of users, as the integers that the domain takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from treadle.domain.job import After, At
from treadle.errors import ConfigurationError
from treadle.runtime.duration import to_due, to_instant, to_ms


@pytest.mark.parametrize(
    ("given", "ms"),
    [
        (0, 0),
        (60, 60_000),
        (0.07, 70),
        (1.1, 1_100),
        (timedelta(minutes=2), 120_000),
        (timedelta(milliseconds=1), 1),
        (86_400 * 365, 31_536_000_000),
    ],
)
def test_seconds_and_timedeltas_become_ms(given: float | timedelta, ms: int) -> None:
    assert to_ms(given, "delay") == ms


@pytest.mark.parametrize("given", [1e-12, 0.0001, timedelta(microseconds=1)])
def test_a_positive_duration_never_becomes_none(given: float | timedelta) -> None:
    assert to_ms(given, "timeout") == 1


@pytest.mark.parametrize(
    "given", [-1, -0.001, float("nan"), float("inf"), 1e12, timedelta(seconds=-1), True, "60", None]
)
def test_what_is_no_duration_is_refused_with_its_name(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout must be"):
        to_ms(given, "timeout")


def test_an_aware_datetime_is_an_instant_in_any_zone() -> None:
    utc = datetime(2025, 6, 30, 12, 0, tzinfo=UTC)
    elsewhere = utc.astimezone(timezone(timedelta(hours=-7)))

    assert to_instant(utc, "run_at") == to_instant(elsewhere, "run_at") == At(1_751_284_800_000)


def test_an_instant_is_rounded_up_so_that_nothing_runs_early() -> None:
    moment = datetime(1970, 1, 1, 0, 0, 1, 1, tzinfo=UTC)

    assert to_instant(moment, "run_at") == At(1_001)


def test_a_naive_datetime_is_refused_and_the_message_says_how_to_make_an_aware_one() -> None:
    with pytest.raises(ConfigurationError, match=r"run_at must have a time zone.*tz=UTC"):
        to_instant(datetime(2025, 6, 30), "run_at")  # noqa: DTZ001 - that is the point


def test_a_due_is_a_duration_or_an_instant() -> None:
    assert to_due(timedelta(seconds=5), "after") == After(5_000)
    assert to_due(datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC), "after") == At(5_000)
