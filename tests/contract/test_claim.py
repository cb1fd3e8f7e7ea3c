"""`claim` makes due jobs running, in order, never one of them twice."""

from __future__ import annotations

import anyio
import pytest

from tests.contract.clock import HOUR, MINUTE, SECOND, MovableClock
from tests.contract.hand import (
    HANDED_BACK,
    LEASE_MS,
    Hand,
    ids,
    known,
    make_job,
    reschedule,
    stored,
)
from treadle.broker.base import Broker
from treadle.domain.job import After, At, ErrorInfo, Policy, Priority
from treadle.domain.outcome import CancelAsked, Failed, Snoozed
from treadle.domain.retry import Fixed
from treadle.domain.state import State
from treadle.errors import SessionEnded

pytestmark = pytest.mark.anyio


async def test_a_claimed_job_runs_for_the_session(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    job = make_job()
    await stored(broker, job)
    clock.advance(5)

    record = await hand.claim_one()

    head = record.head
    assert record.job == job
    assert (head.state, head.attempt, head.fence) == (State.RUNNING, 1, 2)
    assert (head.claimed, head.session) == (clock.time_ms(), hand.session)


async def test_what_was_claimed_is_what_is_stored(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())

    record = await hand.claim_one()

    found = await known(broker, record.job)
    assert (found.job, found.head) == (record.job, record.head)


async def test_a_claimed_job_is_not_claimed_again(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())
    await hand.claim_one()

    assert await hand.claim() == []
    assert await (await Hand.open(broker, "other")).claim() == []


async def test_each_claim_counts_an_attempt_and_moves_the_fence(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job(policy=Policy(retry=Fixed(delay_ms=0))))
    first = await hand.claim_one()
    await hand.end(first, Failed(error=ErrorInfo(type="ValueError")))

    second = await hand.claim_one()

    assert (first.head.attempt, second.head.attempt) == (1, 2)
    assert second.head.fence > first.head.fence


async def test_each_job_of_a_claim_keeps_its_own_counters(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a", policy=Policy(retry=Fixed(delay_ms=0))))
    await hand.end(await hand.claim_one(), Failed(error=ErrorInfo(type="ValueError")))
    await stored(broker, make_job("b"), make_job("c", expires=After(MINUTE)))

    claimed = {record.job.id: record.head for record in await hand.claim()}

    assert {name: head.attempt for name, head in claimed.items()} == {"a": 2, "b": 1, "c": 1}
    assert [bool(claimed[name].expires) for name in "abc"] == [False, False, True]
    assert claimed["a"].fence > claimed["b"].fence == 2


async def test_at_most_limit_jobs_are_claimed(broker: Broker, hand: Hand) -> None:
    await stored(broker, *(make_job() for _ in range(5)))

    assert len(await hand.claim(3)) == 3
    assert len(await hand.claim(3)) == 2
    assert len(await hand.claim(3)) == 0


async def test_a_claim_of_nothing_gives_nothing(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())

    assert await hand.claim(0) == []
    assert await hand.claim(1, []) == []
    assert await hand.claim(1, ["unheard-of"]) == []


async def test_jobs_of_one_call_are_claimed_as_enqueued(broker: Broker, hand: Hand) -> None:
    jobs = [make_job() for _ in range(50)]
    await stored(broker, *jobs)

    assert ids(await hand.claim(20)) + ids(await hand.claim(30)) == [job.id for job in jobs]


@pytest.mark.contract("F23")
async def test_queues_go_as_listed_whatever_the_priority(broker: Broker, hand: Hand) -> None:
    await stored(
        broker,
        make_job("low-in-first", queue="first", priority=Priority.LOW),
        make_job("critical-in-second", queue="second", priority=Priority.CRITICAL),
    )

    claimed = await hand.claim(queues=["first", "second"])

    assert ids(claimed) == ["low-in-first", "critical-in-second"]


async def test_a_queue_that_is_not_listed_is_left_alone(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a", queue="mine"), make_job("b", queue="others"))

    assert ids(await hand.claim(queues=["mine"])) == ["a"]


async def test_priority_is_strict_inside_a_queue(broker: Broker, hand: Hand) -> None:
    await stored(broker, *(make_job(priority.name, priority=priority) for priority in Priority))
    await stored(broker, make_job("CRITICAL-again", priority=Priority.CRITICAL))

    claimed = await hand.claim()

    assert ids(claimed) == ["CRITICAL", "CRITICAL-again", "HIGH", "MEDIUM", "LOW"]


async def test_delayed_jobs_go_by_due_time(broker: Broker, hand: Hand, clock: MovableClock) -> None:
    await stored(
        broker,
        make_job("late", due=After(30 * SECOND)),
        make_job("early", due=After(10 * SECOND)),
        make_job("middle", due=After(20 * SECOND)),
    )
    clock.advance(MINUTE)

    assert ids(await hand.claim()) == ["early", "middle", "late"]


async def test_a_delayed_job_goes_before_what_came_after_it_was_due(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job("delayed", due=After(10 * SECOND)))
    clock.advance(20 * SECOND)
    await stored(broker, make_job("fresh"))

    assert ids(await hand.claim()) == ["delayed", "fresh"]


async def test_a_job_that_is_long_overdue_goes_before_what_came_earlier(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job("a"), make_job("b", due=At(clock.time_ms() - HOUR)))
    await stored(broker, make_job("c", due=At(clock.time_ms() - 2 * HOUR)), make_job("d"))

    assert ids(await hand.claim(3)) == ["c", "b", "a"]
    assert ids(await hand.claim(3)) == ["d"]


async def test_a_job_is_claimed_when_it_is_due_and_not_before(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job("a", due=After(MINUTE)), make_job("b", due=At(0)))

    assert ids(await hand.claim()) == ["b"]
    clock.advance(MINUTE - 1)
    assert await hand.claim() == []
    clock.advance(1)
    assert ids(await hand.claim()) == ["a"]


async def test_a_snoozed_job_is_claimed_when_it_is_due_again(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job())
    record = await hand.claim_one()
    await hand.end(record, Snoozed(due=After(MINUTE)))

    assert await hand.claim() == []
    clock.advance(MINUTE)
    assert (await hand.claim_one()).head.attempt == 1


async def test_a_job_that_was_moved_back_is_not_claimed_at_its_old_place(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    job = make_job()
    await stored(broker, job)
    await reschedule(broker, job, clock.time_ms() + HOUR)

    assert await hand.claim() == []
    clock.advance(HOUR)
    assert ids(await hand.claim()) == [job.id]


async def test_a_job_that_was_moved_forward_is_claimed_once(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    job = make_job(due=After(HOUR))
    await stored(broker, job)
    await reschedule(broker, job, clock.time_ms())

    assert ids(await hand.claim()) == [job.id]
    clock.advance(HOUR)
    assert await hand.claim() == []


async def test_a_cancelled_job_is_not_claimed(broker: Broker, hand: Hand) -> None:
    job = make_job()
    await stored(broker, job)
    await hand.end(await known(broker, job), CancelAsked())

    assert await hand.claim() == []


async def test_the_instant_of_expiry_travels_to_whoever_claims(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job(expires=After(MINUTE)))

    record = await hand.claim_one()

    assert record.head.expires == clock.time_ms() + MINUTE


@pytest.mark.promise(11)
async def test_a_claim_tells_broker_time(broker: Broker, hand: Hand, clock: MovableClock) -> None:
    clock.advance(1_234)

    claimed = await broker.claim(hand.session, ["default"], 1)

    assert claimed.now == clock.time_ms()


async def test_a_paused_queue_gives_nothing_until_it_is_resumed(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a"), make_job("b", queue="mail"))
    await broker.pause("default", True)

    assert ids(await hand.claim(queues=["default", "mail"])) == ["b"]
    await broker.pause("default", False)
    assert ids(await hand.claim()) == ["a"]


async def test_a_pause_leaves_running_jobs_alone(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job())
    record = await hand.claim_one()

    await broker.pause("default", True)

    await hand.end(record, HANDED_BACK)
    assert await hand.claim() == []


async def test_a_queue_can_be_paused_before_its_first_job(broker: Broker, hand: Hand) -> None:
    await broker.pause("default", True)
    await stored(broker, make_job())

    assert await hand.claim() == []


@pytest.mark.promise(4)
async def test_an_expired_session_claims_nothing(broker: Broker, clock: MovableClock) -> None:
    hand = await Hand.open(broker, lease_ms=LEASE_MS)
    await stored(broker, make_job("a"))
    clock.advance(LEASE_MS)

    with pytest.raises(SessionEnded):
        await hand.claim()

    assert ids(await (await Hand.open(broker, "other")).claim()) == ["a"]


async def test_a_closed_session_claims_nothing(broker: Broker, hand: Hand) -> None:
    await broker.close(hand.session)

    with pytest.raises(SessionEnded) as caught:
        await hand.claim()

    assert not caught.value.taken


async def test_a_session_whose_name_was_taken_claims_nothing(broker: Broker, hand: Hand) -> None:
    await Hand.open(broker)

    with pytest.raises(SessionEnded) as caught:
        await hand.claim()

    assert caught.value.taken


async def test_an_unknown_session_claims_nothing(broker: Broker) -> None:
    with pytest.raises(SessionEnded):
        await broker.claim("nobody", ["default"], 1)


async def test_claims_at_the_same_time_share_the_jobs(broker: Broker) -> None:
    await stored(broker, *(make_job() for _ in range(100)))
    hands = [await Hand.open(broker, f"worker-{number}") for number in range(5)]
    claimed: list[str] = []

    async def claim(hand: Hand) -> None:
        while records := await hand.claim(7):
            claimed.extend(ids(records))

    async with anyio.create_task_group() as group:
        for hand in hands:
            group.start_soon(claim, hand)

    assert len(claimed) == len(set(claimed)) == 100
