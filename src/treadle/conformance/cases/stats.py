"""`stats` counts the jobs of every queue; `describe` says what the store promises."""

from __future__ import annotations

from treadle.broker.base import Broker, QueueStats
from treadle.conformance.case import case
from treadle.conformance.clock import HOUR, SECOND
from treadle.conformance.hand import HANDED_BACK, act, known, make_job, stored
from treadle.conformance.lab import Lab
from treadle.domain.job import After, ErrorInfo, Policy, Ref
from treadle.domain.outcome import CancelAsked, Failed, Lost, RetryAsked, Succeeded
from treadle.domain.retry import Fixed

LAG_MS = SECOND
"""What `later` may be behind."""
SOON_MS = 3 * SECOND


async def counts(broker: Broker, queue: str = "default") -> QueueStats:
    """Return the counts of one queue."""
    (found,) = [stats for stats in (await broker.stats()).queues if stats.queue == queue]
    return found


@case("C541", "a store without jobs counts no queue")
async def a_store_without_jobs_counts_no_queue(lab: Lab) -> None:
    broker = lab.broker
    stats = await broker.stats()

    assert stats.queues == ()
    assert lab.close_to(stats.now, await lab.now())


@case("C542", "each job is counted in the state that it has", promises=(15,))
async def each_job_is_counted_in_the_state_that_it_has(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, *(make_job(name) for name in "abcde"))
    first, second, third = await hand.claim(3)
    await hand.end(first, Succeeded())
    await hand.end(second, Failed(error=ErrorInfo(type="E"), give_up=True))
    await act(broker, await known(broker, Ref("default", "d")), CancelAsked())
    await stored(broker, make_job("child", after=(third.ref,)))

    found = await counts(broker)

    assert (found.waiting, found.running, found.blocked) == (1, 1, 1)
    assert (found.succeeded, found.dead, found.cancelled) == (1, 1, 1)


@case("C543", "counts follow every way back", promises=(15,))
async def counts_follow_every_way_back(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, *(make_job(policy=Policy(retry=Fixed(delay_ms=0))) for _ in range(3)))
    handed_back, failed, lost = await hand.claim()

    await hand.end(handed_back, HANDED_BACK)
    await hand.end(failed, Failed(error=ErrorInfo(type="E")))
    await hand.end(lost, Lost())

    found = await counts(broker)
    assert (found.waiting, found.running) == (3, 0)


@case("C544", "a conflict is not counted")
async def a_conflict_is_not_counted(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job(), make_job())
    record = await hand.claim_one()
    await hand.end(record, Succeeded())

    await act(broker, record, Failed(error=ErrorInfo(type="E"), give_up=True))

    found = await counts(broker)
    assert (found.waiting, found.running, found.succeeded, found.dead) == (1, 0, 1, 0)


@case("C545", "each queue is counted alone")
async def each_queue_is_counted_alone(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job(queue="a"), make_job(queue="b"), make_job(queue="b"))

    assert {found.queue: found.waiting for found in (await broker.stats()).queues} == {
        "a": 1,
        "b": 2,
    }


@case("C546", "what is not due is counted as later")
async def what_is_not_due_is_counted_as_later(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job(), make_job(due=After(SOON_MS)), make_job(due=After(HOUR)))
    await lab.elapse(LAG_MS)

    found = await counts(broker)
    assert (found.waiting, found.later, found.later_is_estimate) == (3, 2, False)
    await lab.elapse(SOON_MS)
    assert (await counts(broker)).later == 1


@case("C547", "a delayed job that was cancelled is not counted as later")
async def a_delayed_job_that_was_cancelled_is_not_counted_as_later(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job(due=After(HOUR))
    await stored(broker, job)
    await hand.end(await known(broker, job), CancelAsked())
    await lab.elapse(LAG_MS)

    assert (await counts(broker)).later == 0


@case("C548", "the oldest due job is shown")
async def the_oldest_due_job_is_shown(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job(due=After(HOUR)))
    assert (await counts(broker)).oldest_due is None
    first, second = make_job(), make_job()
    await stored(broker, first)
    await lab.elapse(lab.tick_ms)
    await stored(broker, second)

    assert (await counts(broker)).oldest_due == (await known(broker, first)).head.due
    await hand.claim_one()
    assert (await counts(broker)).oldest_due == (await known(broker, second)).head.due


@case("C549", "a paused queue says so")
async def a_paused_queue_says_so(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job())
    await broker.pause("default", True)

    assert (await counts(broker)).paused
    await broker.pause("default", False)
    assert not (await counts(broker)).paused


@case("C550", "a job that is run again is counted once", promises=(15,))
async def a_job_that_is_run_again_is_counted_once(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    record = await hand.run(make_job(), Failed(error=ErrorInfo(type="E"), give_up=True))

    await hand.end(record, RetryAsked())

    found = await counts(broker)
    assert (found.waiting, found.running, found.succeeded, found.dead) == (1, 0, 0, 0)
