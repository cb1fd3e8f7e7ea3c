"""A claim that finds nothing waits for something to become due, and misses nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from tests.contract.clock import HOUR, MovableClock
from tests.contract.hand import HANDED_BACK, Hand, ids, make_job, reschedule, stored
from treadle.broker.base import Broker
from treadle.domain.job import After, Record
from treadle.domain.outcome import RetryAsked, Succeeded

pytestmark = pytest.mark.anyio

LONG_MS = 30_000
SOON_S = 10


@asynccontextmanager
async def waiting(hand: Hand, *queues: str, limit: int = 1) -> AsyncGenerator[list[Record]]:
    """Let a claim wait while the body does something; it must get its job soon after."""
    claimed: list[Record] = []

    async def claim() -> None:
        claimed.extend(await hand.claim(limit, queues or ("default",), LONG_MS))

    with anyio.fail_after(SOON_S):
        async with anyio.create_task_group() as group:
            group.start_soon(claim)
            await anyio.wait_all_tasks_blocked()
            yield claimed


async def test_a_claim_that_finds_something_does_not_wait(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())

    with anyio.fail_after(SOON_S):
        assert len(await hand.claim(10, wait_ms=LONG_MS)) == 1


async def test_a_claim_returns_empty_when_its_time_is_over(broker: Broker, hand: Hand) -> None:
    with anyio.fail_after(SOON_S):
        assert await hand.claim(wait_ms=20) == []


async def test_a_new_job_ends_the_wait(broker: Broker, hand: Hand) -> None:
    async with waiting(hand) as claimed:
        await stored(broker, make_job("a"))

    assert ids(claimed) == ["a"]


async def test_a_job_in_any_of_its_queues_ends_the_wait(broker: Broker, hand: Hand) -> None:
    async with waiting(hand, "first", "second") as claimed:
        await stored(broker, make_job("a", queue="second"))

    assert ids(claimed) == ["a"]


async def test_a_job_of_another_queue_does_not_end_the_wait(broker: Broker, hand: Hand) -> None:
    async with waiting(hand) as claimed:
        await stored(broker, make_job("theirs", queue="other"))
        await anyio.wait_all_tasks_blocked()
        assert claimed == []
        await stored(broker, make_job("mine"))

    assert ids(claimed) == ["mine"]


async def test_a_job_that_becomes_due_ends_the_wait(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job("a", due=After(30)))
    clock.run()

    async with waiting(hand) as claimed:
        pass

    assert ids(claimed) == ["a"]


async def test_a_delayed_job_that_comes_during_the_wait_ends_it_when_due(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job("much-later", due=After(HOUR)))
    clock.run()

    async with waiting(hand) as claimed:
        await stored(broker, make_job("a", due=After(30)))

    assert ids(claimed) == ["a"]


async def test_a_job_that_is_handed_back_ends_the_wait(broker: Broker, hand: Hand) -> None:
    other = await Hand.open(broker, "other")
    await stored(broker, make_job("a"))
    record = await other.claim_one()

    async with waiting(hand) as claimed:
        await other.end(record, HANDED_BACK)

    assert ids(claimed) == ["a"]


async def test_a_job_that_is_run_again_ends_the_wait(broker: Broker, hand: Hand) -> None:
    record = await hand.run(make_job("a"))

    async with waiting(hand) as claimed:
        await hand.end(record, RetryAsked())

    assert ids(claimed) == ["a"]


async def test_a_job_that_is_moved_to_now_ends_the_wait(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    job = make_job("a", due=After(HOUR))
    await stored(broker, job)

    async with waiting(hand) as claimed:
        await reschedule(broker, job, clock.time_ms())

    assert ids(claimed) == ["a"]


async def test_resuming_a_queue_ends_the_wait(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a"))
    await broker.pause("default", True)

    async with waiting(hand) as claimed:
        await broker.pause("default", False)

    assert ids(claimed) == ["a"]


async def test_a_free_slot_of_a_concurrency_key_ends_the_wait(broker: Broker, hand: Hand) -> None:
    await broker.set_limit("smtp", 1)
    await stored(broker, make_job("a", key="smtp"), make_job("b", key="smtp"))
    record = await hand.claim_one()

    async with waiting(hand) as claimed:
        await hand.end(record, HANDED_BACK)

    assert len(claimed) == 1


async def test_a_follow_up_ends_the_wait(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a"))
    record = await hand.claim_one()

    async with waiting(hand) as claimed:
        await hand.end(record, Succeeded(follow_ups=(make_job("a/1"),)))

    assert ids(claimed) == ["a/1"]


async def test_a_job_stored_through_another_broker_object_ends_the_wait(
    broker: Broker, hand: Hand
) -> None:
    async with broker.another() as other, waiting(hand) as claimed:
        await stored(other, make_job("a"))

    assert ids(claimed) == ["a"]


async def test_a_cancelled_wait_takes_no_job_with_it(broker: Broker, hand: Hand) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(hand.claim, 1, ["default"], LONG_MS)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    await stored(broker, make_job("a"))

    assert ids(await hand.claim()) == ["a"]


async def test_a_cancelled_wait_takes_no_wake_up_with_it(broker: Broker, hand: Hand) -> None:
    other = await Hand.open(broker, "other")

    async with waiting(hand) as claimed:
        async with anyio.create_task_group() as group:
            group.start_soon(other.claim, 1, ["default"], LONG_MS)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        await stored(broker, make_job("a"))

    assert ids(claimed) == ["a"]


async def test_two_waiting_claims_get_a_job_each(broker: Broker, hand: Hand) -> None:
    other = await Hand.open(broker, "other")

    async with waiting(hand) as mine, waiting(other) as theirs:
        await stored(broker, make_job("a"), make_job("b"))

    assert sorted(ids(mine + theirs)) == ["a", "b"]


async def test_no_wake_up_is_lost_between_looking_and_sleeping(broker: Broker, hand: Hand) -> None:
    jobs = [make_job() for _ in range(50)]
    claimed: list[str] = []

    async def claim() -> None:
        while len(claimed) < len(jobs):
            claimed.extend(ids(await hand.claim(3, wait_ms=LONG_MS)))

    with anyio.fail_after(2 * SOON_S):
        async with anyio.create_task_group() as group:
            group.start_soon(claim)
            for job in jobs:
                await stored(broker, job)

    assert sorted(claimed) == [job.id for job in jobs]
