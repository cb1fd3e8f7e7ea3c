"""A claim that finds nothing waits for something to become due, and misses nothing."""

from __future__ import annotations

import statistics
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel

from treadle.broker.base import Broker, Capability
from treadle.conformance.case import Level, case
from treadle.conformance.clock import HOUR
from treadle.conformance.hand import HANDED_BACK, Hand, ids, make_job, reschedule, stored
from treadle.conformance.lab import Lab
from treadle.domain.job import After, Record
from treadle.domain.outcome import RetryAsked, Succeeded

LONG_MS = 30_000
SOON_S = 10
MOMENTS = 8
ASLEEP_S = 0.05
"""After so long a waiting claim has looked, and sleeps."""
AT_ONCE_S = 0.2
"""Beside what the subject says about its slowness."""
PUSH = frozenset({Capability.PUSH})


@asynccontextmanager
async def waiting(
    lab: Lab, hand: Hand, *queues: str, limit: int = 1
) -> AsyncGenerator[list[Record]]:
    """Let a claim wait while the body does something; it must get its job soon after.

    A claim may give up earlier than it was asked to: a worker claims again then.
    """
    claimed: list[Record] = []

    async def claim() -> None:
        while not claimed:
            claimed.extend(await hand.claim(limit, queues or ("default",), LONG_MS))

    with anyio.fail_after(SOON_S):
        async with anyio.create_task_group() as group:
            group.start_soon(claim)
            await lab.quiet()
            yield claimed


@case("C240", "what is stored at any moment of a wait ends it")
async def what_is_stored_at_any_moment_of_a_wait_ends_it(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    for moment in range(MOMENTS):
        job, claimed = make_job(), list[Record]()

        async def claim(claimed: list[Record] = claimed) -> None:
            while not claimed:
                claimed.extend(await hand.claim(1, wait_ms=LONG_MS))

        with anyio.fail_after(SOON_S):
            async with anyio.create_task_group() as group:
                group.start_soon(claim)
                for _ in range(moment):
                    await anyio.lowlevel.checkpoint()
                await stored(broker, job)

        assert ids(claimed) == [job.id]


@case("C241", "a claim that finds something does not wait")
async def a_claim_that_finds_something_does_not_wait(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job())

    with anyio.fail_after(SOON_S):
        assert len(await hand.claim(10, wait_ms=LONG_MS)) == 1


@case("C242", "a claim returns empty when its time is over")
async def a_claim_returns_empty_when_its_time_is_over(lab: Lab) -> None:
    hand = await lab.hand()
    with anyio.fail_after(SOON_S):
        assert await hand.claim(wait_ms=20) == []


@case("C243", "a new job ends the wait")
async def a_new_job_ends_the_wait(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    async with waiting(lab, hand) as claimed:
        await stored(broker, make_job("a"))

    assert ids(claimed) == ["a"]


@case("C244", "a job in any of its queues ends the wait")
async def a_job_in_any_of_its_queues_ends_the_wait(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    async with waiting(lab, hand, "first", "second") as claimed:
        await stored(broker, make_job("a", queue="second"))

    assert ids(claimed) == ["a"]


@case("C245", "a job of another queue does not end the wait")
async def a_job_of_another_queue_does_not_end_the_wait(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    async with waiting(lab, hand) as claimed:
        await stored(broker, make_job("theirs", queue="other"))
        await lab.quiet()
        assert claimed == []
        await stored(broker, make_job("mine"))

    assert ids(claimed) == ["mine"]


@case("C246", "a job that becomes due ends the wait")
async def a_job_that_becomes_due_ends_the_wait(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a", due=After(30)))
    lab.let_time_run()

    async with waiting(lab, hand) as claimed:
        pass

    assert ids(claimed) == ["a"]


@case("C247", "a delayed job that comes during the wait ends it when due")
async def a_delayed_job_that_comes_during_the_wait_ends_it_when_due(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("much-later", due=After(HOUR)))
    lab.let_time_run()

    async with waiting(lab, hand) as claimed:
        await stored(broker, make_job("a", due=After(30)))

    assert ids(claimed) == ["a"]


@case("C248", "a job that is handed back ends the wait")
async def a_job_that_is_handed_back_ends_the_wait(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    other = await lab.hand("other")
    await stored(broker, make_job("a"))
    record = await other.claim_one()

    async with waiting(lab, hand) as claimed:
        await other.end(record, HANDED_BACK)

    assert ids(claimed) == ["a"]


@case("C249", "a job that is run again ends the wait")
async def a_job_that_is_run_again_ends_the_wait(lab: Lab) -> None:
    hand = await lab.hand()
    record = await hand.run(make_job("a"))

    async with waiting(lab, hand) as claimed:
        await hand.end(record, RetryAsked())

    assert ids(claimed) == ["a"]


@case("C250", "a job that is moved to now ends the wait")
async def a_job_that_is_moved_to_now_ends_the_wait(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job("a", due=After(HOUR))
    await stored(broker, job)

    async with waiting(lab, hand) as claimed:
        await reschedule(broker, job, await lab.now())

    assert ids(claimed) == ["a"]


@case("C251", "resuming a queue ends the wait")
async def resuming_a_queue_ends_the_wait(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"))
    await broker.pause("default", True)

    async with waiting(lab, hand) as claimed:
        await broker.pause("default", False)

    assert ids(claimed) == ["a"]


@case("C252", "a free slot of a concurrency key ends the wait")
async def a_free_slot_of_a_concurrency_key_ends_the_wait(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_limit("smtp", 1)
    await stored(broker, make_job("a", key="smtp"), make_job("b", key="smtp"))
    record = await hand.claim_one()

    async with waiting(lab, hand) as claimed:
        await hand.end(record, HANDED_BACK)

    assert len(claimed) == 1


@case("C253", "a follow up ends the wait")
async def a_follow_up_ends_the_wait(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"))
    record = await hand.claim_one()

    async with waiting(lab, hand) as claimed:
        await hand.end(record, Succeeded(follow_ups=(make_job("a/1"),)))

    assert ids(claimed) == ["a/1"]


@case("C254", "a job stored through another broker object ends the wait")
async def a_job_stored_through_another_broker_object_ends_the_wait(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    async with broker.another() as other, waiting(lab, hand) as claimed:
        await stored(other, make_job("a"))

    assert ids(claimed) == ["a"]


@case("C255", "a cancelled wait takes no job with it")
async def a_cancelled_wait_takes_no_job_with_it(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    async with anyio.create_task_group() as group:
        group.start_soon(hand.claim, 1, ["default"], LONG_MS)
        await lab.quiet()
        group.cancel_scope.cancel()
    await stored(broker, make_job("a"))

    assert ids(await hand.claim()) == ["a"]


@case("C256", "a cancelled wait takes no wake up with it")
async def a_cancelled_wait_takes_no_wake_up_with_it(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    other = await lab.hand("other")

    async with waiting(lab, hand) as claimed:
        async with anyio.create_task_group() as group:
            group.start_soon(other.claim, 1, ["default"], LONG_MS)
            await lab.quiet()
            group.cancel_scope.cancel()
        await stored(broker, make_job("a"))

    assert ids(claimed) == ["a"]


@case("C257", "two waiting claims get a job each")
async def two_waiting_claims_get_a_job_each(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    other = await lab.hand("other")

    async with waiting(lab, hand) as mine, waiting(lab, other) as theirs:
        await stored(broker, make_job("a"), make_job("b"))

    assert sorted(ids(mine + theirs)) == ["a", "b"]


@case("C258", "no wake up is lost between looking and sleeping")
async def no_wake_up_is_lost_between_looking_and_sleeping(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
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


@case("C259", "a new job wakes a waiting claim at once", level=Level.PUSH, needs=PUSH)
async def a_new_job_wakes_a_waiting_claim_at_once(lab: Lab) -> None:
    hand = await lab.hand()

    assert await usual_delay_s(lab, hand, lab.broker) <= at_once_s(lab)


@case(
    "C260",
    "a job stored through another broker object wakes a waiting claim at once",
    level=Level.PUSH,
    needs=PUSH,
)
async def a_job_stored_through_another_object_wakes_a_waiting_claim_at_once(lab: Lab) -> None:
    hand = await lab.hand()

    assert await usual_delay_s(lab, hand, await lab.second()) <= at_once_s(lab)


def at_once_s(lab: Lab) -> float:
    """Return how long a wake-up may take."""
    return AT_ONCE_S + lab.subject.slack_ms / 1_000


async def usual_delay_s(lab: Lab, hand: Hand, producer: Broker) -> float:
    """Return how long it usually takes from storing a job until a waiting claim has it."""
    delays: list[float] = []
    for _ in range(7):
        async with waiting(lab, hand):
            await anyio.sleep(ASLEEP_S)  # a claim that still looks needs no wake-up
            await stored(producer, make_job())
            start = anyio.current_time()
        delays.append(anyio.current_time() - start)
    return statistics.median(delays)
