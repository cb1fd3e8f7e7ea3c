"""Schedules: what is refused, what is caught up, and the days on which clocks are moved."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import msgspec
import pytest

from treadle.domain.cron import (
    CatchUp,
    Cron,
    Every,
    Schedule,
    check,
    due_between,
    explain,
    fires,
    is_fixed,
    next_fire,
    previous_fire,
)
from treadle.domain.local_time import find_zone
from treadle.errors import ConfigurationError


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def _local(expr: str, tz: str, after: str, count: int) -> list[str]:
    schedule = Schedule(when=Cron(expr=expr, tz=tz))
    ticks = islice(fires(schedule, _ms(after)), count)
    zone = find_zone(tz)
    return [datetime.fromtimestamp(tick / 1000, zone).strftime("%m-%d %H:%M %Z") for tick in ticks]


@pytest.mark.contract("F26")
def test_a_time_that_does_not_exist_runs_at_the_first_instant_after_it() -> None:
    ticks = _local("30 2 * * *", "America/New_York", "2026-03-07T12:00", 2)

    assert ticks == ["03-08 03:00 EDT", "03-09 02:30 EDT"]


@pytest.mark.contract("F26")
def test_a_time_that_comes_twice_runs_the_first_time() -> None:
    ticks = _local("30 1 * * *", "America/New_York", "2026-10-31T12:00", 2)

    assert ticks == ["11-01 01:30 EDT", "11-02 01:30 EST"]


def test_several_times_in_one_gap_run_once() -> None:
    ticks = _local("0,15,30 2,3 * * *", "America/New_York", "2026-03-08T06:00", 3)

    assert ticks == ["03-08 03:00 EDT", "03-08 03:15 EDT", "03-08 03:30 EDT"]


def test_an_interval_keeps_its_pace_over_both_moves() -> None:
    spring = _local("*/30 * * * *", "America/New_York", "2026-03-08T06:00", 3)
    autumn = _local("*/30 * * * *", "America/New_York", "2026-11-01T05:00", 4)

    assert spring == ["03-08 01:30 EST", "03-08 03:00 EDT", "03-08 03:30 EDT"]
    assert autumn == ["11-01 01:30 EDT", "11-01 01:00 EST", "11-01 01:30 EST", "11-01 02:00 EST"]


def test_a_date_that_a_zone_left_out_has_no_run() -> None:
    ticks = _local("30 2 * * *", "Pacific/Apia", "2011-12-29T00:00", 2)

    assert ticks == ["12-29 02:30 -10", "12-31 02:30 +14"]


def test_a_sixth_field_stands_in_front_and_means_seconds() -> None:
    schedule = Schedule(when=Cron(expr="*/20 * * * * *"))

    assert list(islice(fires(schedule, 0), 3)) == [20_000, 40_000, 60_000]


@pytest.mark.parametrize(
    ("expr", "same"), [("@daily", "0 0 * * *"), ("@Hourly", "0 * * * *"), ("@weekly", "0 0 * * 0")]
)
def test_a_word_stands_for_an_expression(expr: str, same: str) -> None:
    now = _ms("2026-05-05T05:05")

    assert next_fire(Schedule(when=Cron(expr=expr)), now) == next_fire(
        Schedule(when=Cron(expr=same)), now
    )
    assert is_fixed(expr) == is_fixed(same)


def test_the_ticks_of_a_period_are_its_multiples() -> None:
    schedule = Schedule(when=Every(period_ms=1_500))

    assert list(islice(fires(schedule, 1_500), 3)) == [3_000, 4_500, 6_000]


@pytest.mark.parametrize(
    ("when", "said"),
    [
        (Cron(expr="0 0 31 2 *"), "never fires: no month that it names has a day 31"),
        (Cron(expr="0 0 30,31 2 *"), "never fires"),
        (Cron(expr="61 * * * *"), "'61' is no minute"),
        (Cron(expr="* * * *"), "five fields"),
        (Cron(expr="@dayly"), "@daily"),
        (Cron(expr=""), "five fields"),
        (Cron(expr="* * * * *", tz="Europe/Berln"), "Did you mean 'Europe/Berlin'?"),
        (Cron(expr="* * * * *", tz="../etc/passwd"), "is unknown"),
        (Cron(expr="* * * * *", tz=""), "is unknown"),
        (Every(period_ms=999), "1 s to 366 days, got 0.999 s"),
        (Every(period_ms=0), "1 s to 366 days"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_to_do(when: Cron | Every, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check(Schedule(when=when))

    assert said in str(caught.value)


def test_a_look_back_of_more_than_an_hour_is_refused() -> None:
    schedule = Schedule(when=Every(period_ms=60_000), look_back_ms=3_600_001)

    with pytest.raises(ConfigurationError, match="at most 1 hour"):
        check(schedule)


def test_a_leap_day_is_waited_for() -> None:
    schedule = Schedule(when=Cron(expr="0 0 29 2 *"))
    check(schedule)

    assert next_fire(schedule, _ms("2096-03-01T00:00")) == _ms("2104-02-29T00:00")


NOON = _ms("2026-06-01T12:00")
HOUR = 3_600_000


@pytest.mark.parametrize(
    ("catch_up", "fired"),
    [(CatchUp.ALL, 5), (CatchUp.ONCE, 1), (CatchUp.SKIP, 1)],
)
def test_a_stop_of_a_day_is_caught_up_as_the_policy_says(catch_up: CatchUp, fired: int) -> None:
    schedule = Schedule(when=Every(period_ms=60_000), catch_up=catch_up, look_back_ms=299_000)

    due = due_between(schedule, NOON - 24 * HOUR, NOON + 5_000)

    assert due == tuple(NOON - 60_000 * n for n in reversed(range(fired)))


def test_skip_fires_nothing_that_was_missed() -> None:
    schedule = Schedule(when=Cron(expr="0 12 * * *"), catch_up=CatchUp.SKIP)

    assert due_between(schedule, NOON - HOUR, NOON + 10_000) == (NOON,)
    assert due_between(schedule, NOON - HOUR, NOON + 11_000) == ()


def test_once_drops_nothing_of_a_fast_schedule_that_is_only_a_little_late() -> None:
    schedule = Schedule(when=Every(period_ms=1_000), catch_up=CatchUp.ONCE)

    assert len(due_between(schedule, NOON, NOON + 3_000)) == 3


def test_the_last_tick_is_found_also_if_it_was_long_ago() -> None:
    yearly = Schedule(when=Cron(expr="0 0 1 1 *"))

    assert previous_fire(yearly, NOON) == _ms("2026-01-01T00:00")
    assert previous_fire(Schedule(when=Every(period_ms=1_000)), NOON) == NOON


def test_a_schedule_survives_being_written_and_read() -> None:
    schedule = Schedule(when=Cron(expr="30 2 * * *", tz="Asia/Tokyo"), catch_up=CatchUp.ONCE)

    text = msgspec.json.encode(schedule)

    assert msgspec.json.decode(text, type=Schedule) == schedule
    assert b'"cron"' in text


def test_schedules_are_explained_in_words() -> None:
    assert explain(Schedule(when=Cron(expr="30 2 * * *"))) == "At 02:30 every day"
    assert explain(Schedule(when=Every(period_ms=90_000))) == "Every 90 s"
    assert explain(Schedule(when=Every(period_ms=7_200_000))) == "Every 2 h"
