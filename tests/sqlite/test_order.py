"""What stands first because a concurrency key let it in: stored as if it were due before all others."""

from __future__ import annotations

import pytest

from tests.sqlite import look
from treadle.broker.sqlite import SqliteBroker
from treadle.conformance.clock import MovableClock
from treadle.conformance.hand import Hand, ids, make_job, ref, stored
from treadle.domain.job import After, At, Priority
from treadle.domain.state import State

pytestmark = pytest.mark.anyio


async def test_a_job_that_was_let_in_is_claimed_first_and_shows_its_true_due_time(
    broker: SqliteBroker, hand: Hand, clock: MovableClock
) -> None:
    await broker.set_limit("key", 1)
    await stored(broker, make_job("runs", key="key"), make_job("waits", key="key"))
    (running,) = await hand.claim(10)
    start = clock.time_ms()
    clock.advance(500)
    await stored(broker, make_job("early"))
    clock.advance(500)

    await broker.apply([look.success(running)])

    (record,) = await broker.get([ref(make_job("waits"))])
    assert record is not None
    assert (record.head.state, record.head.due) == (State.WAITING, clock.time_ms())
    (counts,) = (await broker.stats()).queues
    assert counts.oldest_due == start + 500
    assert ids(await hand.claim(10)) == ["waits", "early"]


async def test_the_first_who_is_let_in_is_the_most_urgent_of_those_that_came_together(
    broker: SqliteBroker, hand: Hand
) -> None:
    await broker.set_limit("key", 1)
    await stored(broker, make_job("runs", key="key"))
    (running,) = await hand.claim(1)
    low = make_job("low", key="key", priority=Priority.LOW)
    high = make_job("high", key="key", priority=Priority.HIGH)
    await stored(broker, low, high)
    await hand.claim(10)

    await broker.apply([look.success(running)])

    assert ids(await hand.claim(10)) == ["high"]


@pytest.mark.parametrize("ms", [-5, 0, 2**53 - 1, 2**62, 2**70])
async def test_any_instant_can_be_stored(broker: SqliteBroker, hand: Hand, ms: int) -> None:
    jobs = [make_job("at", due=At(ms)), make_job("after", due=After(abs(ms)), expires=At(abs(ms)))]

    await stored(broker, *jobs)

    found = await broker.get([ref(job) for job in jobs])
    assert [record is not None and record.head.state for record in found] == [State.WAITING] * 2
    assert ("at" in ids(await hand.claim(10))) == (ms <= 0)
