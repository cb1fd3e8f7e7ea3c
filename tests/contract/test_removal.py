"""A removal drops a final record, and its id is remembered for a while."""

from __future__ import annotations

import pytest

from tests.contract.clock import HOUR, MINUTE, MovableClock
from tests.contract.hand import Hand, act, ids, known, make_job, ref, stored
from treadle.broker.base import Applied, Broker, Conflict, Duplicate, Filter
from treadle.domain.job import Policy
from treadle.domain.outcome import DiscardAsked, Removal
from treadle.domain.state import State

pytestmark = pytest.mark.anyio

REMEMBERED = Policy(remember_ms=HOUR)


async def test_a_removed_record_is_only_remembered(broker: Broker, hand: Hand) -> None:
    record = await hand.run(make_job("a", policy=REMEMBERED))

    await hand.end(record, DiscardAsked())

    found = await known(broker, record.job)
    assert found.forgotten
    assert (found.head.state, found.head.fence) == (State.SUCCEEDED, record.head.fence)
    assert (found.result, found.history) == (None, ())


async def test_a_removed_record_is_listed_and_counted_no_longer(broker: Broker, hand: Hand) -> None:
    await hand.end(await hand.run(make_job(policy=REMEMBERED)), DiscardAsked())

    assert (await broker.find(Filter())).records == ()
    assert [queue.succeeded for queue in (await broker.stats()).queues] == [0]


async def test_a_removed_record_is_not_dropped_a_second_time(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    job = make_job("a", policy=Policy(retention_ms=MINUTE, remember_ms=0))
    await hand.end(await hand.run(job), DiscardAsked())
    await stored(broker, job)
    clock.advance(HOUR)

    assert await broker.purge(10) == 0
    assert ids(await hand.claim()) == ["a"]


async def test_the_id_of_a_removed_record_is_taken_while_it_is_remembered(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    job = make_job("a", policy=REMEMBERED)
    await hand.end(await hand.run(job), DiscardAsked())
    clock.advance(HOUR - 1)

    (answer,) = (await broker.enqueue([job])).results

    assert isinstance(answer, Duplicate)
    assert answer.record.forgotten


async def test_the_id_of_a_removed_record_is_free_when_it_is_forgotten(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    job = make_job("a", policy=REMEMBERED)
    await hand.end(await hand.run(job), DiscardAsked())
    clock.advance(HOUR)

    assert list(await broker.get([ref(job)])) == [None]
    await stored(broker, job)
    assert ids(await hand.claim()) == ["a"]


async def test_a_record_is_remembered_from_its_removal_on(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    record = await hand.run(make_job(policy=REMEMBERED))
    clock.advance(10 * HOUR)

    await hand.end(record, DiscardAsked())

    assert (await known(broker, record.job)).forgotten


async def test_a_record_that_is_not_final_is_not_removed(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("running"), make_job("waiting"))
    running = await hand.claim_one()
    removals = [
        Removal(queue="default", id="running", fence=running.head.fence, remember_ms=MINUTE),
        Removal(queue="default", id="waiting", fence=1, remember_ms=MINUTE),
    ]

    answer = await broker.apply(removals)

    assert [type(result) for result in answer.results] == [Conflict, Conflict]
    assert (await broker.stats()).queues[0].waiting == 1


async def test_a_removal_with_a_stale_fence_removes_nothing(broker: Broker, hand: Hand) -> None:
    record = await hand.run(make_job())
    stale = Removal(queue="default", id=record.job.id, fence=1, remember_ms=MINUTE)

    (answer,) = (await broker.apply([stale])).results

    assert isinstance(answer, Conflict)
    assert await known(broker, record.job) == record


async def test_removing_twice_conflicts_the_second_time(broker: Broker, hand: Hand) -> None:
    record = await hand.run(make_job())

    first = await act(broker, record, DiscardAsked())
    second = await act(broker, record, DiscardAsked())

    assert isinstance(first, Applied)
    assert isinstance(second, Conflict)
