"""`stats` counts the jobs of every queue; `describe` says what the store promises."""

from __future__ import annotations

import pytest

from tests.contract.clock import HOUR, MINUTE, SECOND, MovableClock
from tests.contract.hand import HANDED_BACK, Hand, act, known, make_job, stored
from treadle.broker.base import Broker, Capability, Durability, QueueStats
from treadle.domain.job import After, ErrorInfo, Policy, Ref
from treadle.domain.outcome import CancelAsked, Failed, Lost, Succeeded
from treadle.domain.retry import Fixed

pytestmark = pytest.mark.anyio


async def counts(broker: Broker, queue: str = "default") -> QueueStats:
    """Return the counts of one queue."""
    (found,) = [stats for stats in (await broker.stats()).queues if stats.queue == queue]
    return found


async def test_a_store_without_jobs_counts_no_queue(broker: Broker, clock: MovableClock) -> None:
    stats = await broker.stats()

    assert (stats.queues, stats.now) == ((), clock.time_ms())


@pytest.mark.promise(15)
async def test_each_job_is_counted_in_the_state_that_it_has(broker: Broker, hand: Hand) -> None:
    await stored(broker, *(make_job(name) for name in "abcde"))
    first, second, third = await hand.claim(3)
    await hand.end(first, Succeeded())
    await hand.end(second, Failed(error=ErrorInfo(type="E"), give_up=True))
    await act(broker, await known(broker, Ref("default", "d")), CancelAsked())
    await stored(broker, make_job("child", after=(third.ref,)))

    found = await counts(broker)

    assert (found.waiting, found.running, found.blocked) == (1, 1, 1)
    assert (found.succeeded, found.dead, found.cancelled) == (1, 1, 1)


@pytest.mark.promise(15)
async def test_counts_follow_every_way_back(broker: Broker, hand: Hand) -> None:
    await stored(broker, *(make_job(policy=Policy(retry=Fixed(delay_ms=0))) for _ in range(3)))
    handed_back, failed, lost = await hand.claim()

    await hand.end(handed_back, HANDED_BACK)
    await hand.end(failed, Failed(error=ErrorInfo(type="E")))
    await hand.end(lost, Lost())

    found = await counts(broker)
    assert (found.waiting, found.running) == (3, 0)


async def test_a_conflict_is_not_counted(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job(), make_job())
    record = await hand.claim_one()
    await hand.end(record, Succeeded())

    await act(broker, record, Failed(error=ErrorInfo(type="E"), give_up=True))

    found = await counts(broker)
    assert (found.waiting, found.running, found.succeeded, found.dead) == (1, 0, 1, 0)


async def test_each_queue_is_counted_alone(broker: Broker) -> None:
    await stored(broker, make_job(queue="a"), make_job(queue="b"), make_job(queue="b"))

    assert {found.queue: found.waiting for found in (await broker.stats()).queues} == {
        "a": 1,
        "b": 2,
    }


async def test_what_is_not_due_is_counted_as_later(broker: Broker, clock: MovableClock) -> None:
    await stored(broker, make_job(), make_job(due=After(MINUTE)), make_job(due=After(HOUR)))

    found = await counts(broker)
    assert (found.waiting, found.later, found.later_is_estimate) == (3, 2, False)
    clock.advance(MINUTE + SECOND)
    assert (await counts(broker)).later == 1


async def test_a_delayed_job_that_was_cancelled_is_not_counted_as_later(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    job = make_job(due=After(HOUR))
    await stored(broker, job)
    await hand.end(await known(broker, job), CancelAsked())
    clock.advance(SECOND)

    assert (await counts(broker)).later == 0


async def test_the_oldest_due_job_is_shown(broker: Broker, hand: Hand, clock: MovableClock) -> None:
    await stored(broker, make_job(due=After(HOUR)))
    assert (await counts(broker)).oldest_due is None
    start = clock.time_ms()
    await stored(broker, make_job())
    clock.advance(MINUTE)
    await stored(broker, make_job())

    assert (await counts(broker)).oldest_due == start
    await hand.claim_one()
    assert (await counts(broker)).oldest_due == start + MINUTE


async def test_a_paused_queue_says_so(broker: Broker) -> None:
    await stored(broker, make_job())
    await broker.pause("default", True)

    assert (await counts(broker)).paused
    await broker.pause("default", False)
    assert not (await counts(broker)).paused


async def test_a_broker_says_what_it_promises(broker: Broker) -> None:
    description = await broker.describe()

    assert description.name
    assert description.version
    durable = description.durability is not Durability.NONE
    assert durable == (Capability.DURABLE in broker.capabilities)


async def test_a_broker_knows_its_url_and_its_room(broker: Broker) -> None:
    assert broker.url.scheme in str(broker.url)
    assert broker.max_record >= 64 * 1024


async def test_connecting_twice_is_harmless(broker: Broker) -> None:
    await stored(broker, make_job("a"))

    await broker.connect()

    assert (await counts(broker)).waiting == 1


async def test_disconnecting_twice_is_harmless(broker: Broker) -> None:
    other = broker.another()
    await other.connect()

    await other.disconnect()
    await other.disconnect()

    await stored(broker, make_job())


async def test_sessions_stay_when_a_broker_disconnects(broker: Broker) -> None:
    async with broker.another() as other:
        hand = await Hand.open(other)
        await stored(other, make_job("a"))

    assert len((await broker.claim(hand.session, ["default"], 1)).records) == 1
