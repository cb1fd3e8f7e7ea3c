"""Broker time is the last reply plus monotonic time; the wall clock decides nothing."""

from __future__ import annotations

import pytest

from treadle.runtime.clock import BrokerClock, SystemClock


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.wall_ms = 1_000_000
        self.seconds = 50.0

    def time_ms(self) -> int:
        return self.wall_ms

    def monotonic(self) -> float:
        return self.seconds


def test_until_a_reply_broker_time_is_the_wall_clock() -> None:
    clock = HandClock()

    assert BrokerClock(clock).now_ms() == 1_000_000


def test_broker_time_is_the_last_reply_plus_monotonic_time() -> None:
    clock = HandClock()
    broker = BrokerClock(clock)

    broker.sync(7_000)
    clock.seconds += 1.25

    assert broker.now_ms() == 8_250


@pytest.mark.promise(11)
def test_a_wall_clock_that_jumps_by_a_day_moves_nothing() -> None:
    clock = HandClock()
    broker = BrokerClock(clock)
    broker.sync(7_000)

    clock.wall_ms -= 86_400_000

    assert broker.now_ms() == 7_000


def test_a_later_reply_replaces_an_earlier_one_also_backwards() -> None:
    clock = HandClock()
    broker = BrokerClock(clock)
    broker.sync(7_000)
    clock.seconds += 10

    broker.sync(6_000)

    assert broker.now_ms() == 6_000


def test_the_system_clock_grows_and_knows_this_century() -> None:
    clock = SystemClock()

    first, second = clock.monotonic(), clock.monotonic()

    assert first <= second
    assert clock.time_ms() > 1_700_000_000_000
