"""Schedules: the daylight-saving rule against a clock that is looked at minute by minute."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import timedelta
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.zones import FORTY, Move, Wall, all_moves, each_shape
from treadle.domain.cron import CatchUp, Cron, Every, Schedule, check, due_between, fires, next_fire
from treadle.domain.local_time import wall_of
from treadle.errors import ConfigurationError

TEN_MINUTES = {0, 10, 20, 30, 40, 50}


def _fires(expr: str, zone: ZoneInfo, start: int, end: int) -> list[int]:
    """Return the ticks in [start, end), in seconds."""
    schedule = Schedule(when=Cron(expr=expr, tz=zone.key))
    found = takewhile(lambda tick: tick < end * 1000, fires(schedule, start * 1000 - 1))
    return [tick // 1000 for tick in found]


def _check_intervals(move: Move, wall: Wall) -> None:
    start, end = move.at - 4 * 3600, move.at + 4 * 3600

    def seen(minutes: set[int], hours: Iterable[int] = range(24)) -> list[int]:
        return [at for at in wall.interval(minutes, set(hours)) if start <= at < end]

    assert _fires("*/10 * * * *", move.zone, start, end) == seen(TEN_MINUTES)
    assert _fires("7 * * * *", move.zone, start, end) == seen({7})
    assert _fires("*/30 1-3,23 * * *", move.zone, start, end) == seen({0, 30}, (1, 2, 3, 23))
    assert _fires("15 */2 * * *", move.zone, start, end) == seen({15}, range(0, 24, 2))


def _check_pace(move: Move) -> None:
    """A step that divides the shift keeps its pace over it."""
    if (move.after - move.before) % 600:
        return
    ticks = _fires("*/10 * * * *", move.zone, move.at - 7200, move.at + 7200)
    assert {later - tick for tick, later in pairwise(ticks)} == {600}


def _check_fixed(move: Move, wall: Wall) -> None:
    low = wall_of(move.at + min(move.before, move.after))
    high = wall_of(move.at + max(move.before, move.after))
    minute = timedelta(minutes=1)
    for time in {low - minute, low, low + (high - low) / 2, high - minute, high}:
        expected = wall.fixed(time.hour, time.minute)
        days = sorted(expected)
        start, end = move.at - 14 * 3600, move.at + 26 * 3600
        wanted = [expected[day] for day in days if start <= expected[day] < end]
        expr = f"{time.minute} {time.hour} * * *"

        assert _fires(expr, move.zone, start, end) == wanted, (expr, str(move.zone), time)


def _check(move: Move) -> None:
    wall = Wall(move)
    _check_intervals(move, wall)
    _check_pace(move)
    _check_fixed(move, wall)


@pytest.mark.contract("F26")
@pytest.mark.promise(11)
@pytest.mark.parametrize("name", FORTY)
def test_times_come_once_a_day_and_intervals_keep_pace_over_each_move_of(name: str) -> None:
    for move in each_shape(ZoneInfo(name)):
        _check(move)


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_times_come_once_a_day_and_intervals_keep_pace_over_every_move_of_every_zone() -> None:
    found = all_moves()

    for number, move in enumerate(found, 1):
        _check(move)
        if number % 500 == 0:
            print(f"{number} of {len(found)} moves of clocks", file=sys.stderr, flush=True)

    assert len(found) > 1_000


EXPRESSIONS = st.one_of(
    st.builds("{} {} * * *".format, st.integers(0, 59), st.integers(0, 23)),
    st.builds("*/{} * * * *".format, st.integers(1, 30)),
    st.builds("{} {} {} * {}".format, *(st.integers(0, 23),) * 2, st.integers(1, 28), st.just("*")),
    st.builds("*/{} {} {} * * *".format, *(st.integers(1, 20),) * 3),
    st.builds("{} {}-{} * * MON-FRI".format, st.integers(0, 59), st.just(8), st.integers(8, 18)),
)
WHENS = st.one_of(
    st.builds(Every, period_ms=st.integers(1_000, 86_400_000)),
    st.builds(Cron, expr=EXPRESSIONS, tz=st.sampled_from(FORTY)),
)
SCHEDULES = st.builds(
    Schedule,
    when=WHENS,
    catch_up=st.sampled_from(CatchUp),
    look_back_ms=st.integers(0, 900_000),
)
INSTANTS = st.integers(946_684_800_000, 2_145_916_800_000)


@settings(deadline=None, max_examples=50)
@given(SCHEDULES, INSTANTS)
def test_ticks_only_grow_and_are_found_from_anywhere_between_them(
    schedule: Schedule, now: int
) -> None:
    first = next_fire(schedule, now)
    assert first is not None
    second = next_fire(schedule, first)

    assert second is not None
    assert now < first < second
    assert next_fire(schedule, first - 1) == first
    assert next_fire(schedule, (first + second) // 2) == second


@settings(deadline=None, max_examples=40)
@given(SCHEDULES, INSTANTS, st.integers(0, 3 * 3_600_000))
def test_what_is_caught_up_is_bounded_in_order_and_in_reach(
    schedule: Schedule, now: int, stopped: int
) -> None:
    due = due_between(schedule, now - stopped, now)

    assert list(due) == sorted(set(due))
    assert all(now - stopped < tick <= now for tick in due)
    assert all(tick >= now - max(schedule.look_back_ms, 1_000) for tick in due)
    assert len(due) <= max(schedule.look_back_ms, 1_000) // 1_000 + 1


@settings(deadline=None, max_examples=40)
@given(WHENS, INSTANTS, st.lists(st.integers(1, 50_000), max_size=8))
def test_looking_often_finds_each_tick_once(when: Every | Cron, now: int, steps: list[int]) -> None:
    schedule = Schedule(when=when)
    found: list[int] = []

    at = now
    for step in steps:
        found += due_between(schedule, at, at + step)
        at += step

    wanted = takewhile(lambda tick: tick <= at, fires(schedule, now))
    assert found == list(wanted)


def _refusal(schedule: Schedule) -> str:
    try:
        check(schedule)
    except ConfigurationError as error:
        return str(error)
    return ""


@given(st.text(alphabet="*/0123456789,-L#@ MONjan", max_size=24))
def test_an_expression_is_refused_with_a_sentence_or_fires(expr: str) -> None:
    schedule = Schedule(when=Cron(expr=expr))

    refused = _refusal(schedule)

    assert len(refused) > 20 if refused else next_fire(schedule, 1_800_000_000_000) is not None
