"""Jobs that wait for a slot of a concurrency key: when they are looked at, and how they are counted."""

from __future__ import annotations

import pytest

from treadle.broker.base import Applied, Broker
from treadle.conformance.clock import MINUTE, MovableClock
from treadle.conformance.hand import Hand, act, ids, known, make_job, stored
from treadle.domain.job import After, At
from treadle.domain.outcome import LookedAt, RescheduleAsked, Succeeded

pytestmark = pytest.mark.anyio


async def test_looks_at_a_key_that_is_full_again_come_after_one_second_doubling_to_sixty(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    job = make_job("waiter", key="smtp")
    await broker.set_limit("smtp", 0)
    await stored(broker, job)
    waits: list[int] = []

    for _ in range(8):
        assert await hand.claim() == []
        head = (await known(broker, job)).head
        waits.append(head.due - clock.time_ms())
        await act(broker, await known(broker, job), LookedAt())

    assert waits == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]


async def test_a_freed_slot_lets_a_waiter_in_that_was_looked_at_often(
    broker: Broker, hand: Hand
) -> None:
    await broker.set_limit("smtp", 1)
    job = make_job("b", key="smtp")
    await stored(broker, make_job("a", key="smtp"), job)
    record = await hand.claim_one()
    for _ in range(5):
        assert await hand.claim() == []
        await act(broker, await known(broker, job), LookedAt())
    assert await hand.claim() == []

    await hand.end(record, Succeeded())

    assert ids(await hand.claim()) == ["b"]


async def test_a_job_that_was_let_in_does_not_hide_one_that_is_due_longer(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await broker.set_limit("smtp", 1)
    await stored(broker, make_job(key="smtp"), make_job(key="smtp"))
    (running,) = await hand.claim()
    earlier = clock.time_ms() - MINUTE
    await stored(broker, make_job(), make_job(due=At(earlier)))
    clock.advance(MINUTE)

    await hand.end(running, Succeeded())

    (queue,) = (await broker.stats()).queues
    assert queue.oldest_due == earlier


async def test_a_new_body_brings_its_own_expiry(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    old = make_job("a", expires=After(500), due=After(MINUTE))
    await stored(broker, old)
    body = make_job("a", expires=After(2 * MINUTE))

    answer = await act(broker, await known(broker, old), RescheduleAsked(due=After(0), job=body))

    assert isinstance(answer, Applied)
    (claimed,) = await hand.claim()
    assert claimed.head.expires == clock.time_ms() + 2 * MINUTE
