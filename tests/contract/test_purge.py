"""`purge` drops what is past its retention, and remembers ids for a while."""

from __future__ import annotations

import pytest

from tests.contract.adapters import Adapter
from tests.contract.clock import DAY, HOUR, MINUTE, MovableClock
from tests.contract.hand import Hand, ids, known, lease, look_around, make_job, ref, stored
from treadle.broker.base import Broker, Duplicate, Filter, LogLine, Notes, Progress, Step
from treadle.domain.job import After, ErrorInfo, Policy
from treadle.domain.outcome import CancelAsked, Failed, RetryAsked, Succeeded
from treadle.domain.state import State
from treadle.domain.unique import Scope, Unique

pytestmark = pytest.mark.anyio

SHORT = Policy(retention_ms=MINUTE, dead_retention_ms=HOUR, remember_ms=10 * MINUTE)
GIVEN_UP = Failed(error=ErrorInfo(type="ValueError"), give_up=True)


async def test_a_final_record_is_dropped_after_its_retention(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    record = await hand.run(make_job(policy=SHORT))
    clock.advance(MINUTE - 1)

    assert await broker.purge(10) == 0
    assert await known(broker, record.job) == record
    clock.advance(1)
    assert await broker.purge(10) == 1
    assert await broker.purge(10) == 0


async def test_a_cancelled_record_is_kept_as_long_as_a_succeeded_one(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    job = make_job(policy=SHORT)
    await stored(broker, job)
    await hand.end(await known(broker, job), CancelAsked())

    clock.advance(MINUTE)

    assert await broker.purge(10) == 1


async def test_a_dead_letter_has_a_retention_of_its_own(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await hand.run(make_job(policy=SHORT), GIVEN_UP)
    clock.advance(HOUR - 1)

    assert await broker.purge(10) == 0
    clock.advance(1)
    assert await broker.purge(10) == 1


async def test_without_a_retention_a_record_is_kept_for_ever(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    record = await hand.run(make_job(policy=Policy(retention_ms=None)))
    clock.advance(1_000 * DAY)

    assert await broker.purge(10) == 0
    assert await known(broker, record.job) == record


async def test_at_most_limit_records_are_dropped(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    for _ in range(5):
        await hand.run(make_job(policy=SHORT))
    clock.advance(MINUTE)

    assert [await broker.purge(2) for _ in range(4)] == [2, 2, 1, 0]


async def test_what_is_not_final_is_never_dropped(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job("a", policy=SHORT), make_job("b", policy=SHORT))
    await hand.claim_one()
    clock.advance(100 * DAY)

    assert await broker.purge(10) == 0
    assert ids(await hand.claim()) == ["b"]


async def test_a_job_that_was_run_again_is_not_dropped(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    record = await hand.run(make_job("a", policy=SHORT))
    await hand.end(record, RetryAsked())
    clock.advance(MINUTE)

    assert await broker.purge(10) == 0
    assert ids(await hand.claim()) == ["a"]


@pytest.mark.promise(12)
async def test_nothing_of_a_dropped_record_is_left_but_its_memory(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job(policy=SHORT))
    record = await hand.claim_one()
    await broker.note(hand.session, [Progress(lease=lease(record), data=b"1")])
    await hand.end(record, Succeeded(result=b"1"))
    clock.advance(MINUTE)
    await broker.purge(10)

    found = await known(broker, record.job)
    assert found.forgotten
    assert (found.head.state, found.head.fence) == (State.SUCCEEDED, record.head.fence + 1)
    assert (found.result, found.history, found.job.policy) == (None, (), Policy())
    assert await broker.notes(ref(record.job)) == Notes()
    assert (await broker.find(Filter())).records == ()
    assert [queue.succeeded for queue in (await broker.stats()).queues] == [0]


@pytest.mark.promise(3)
async def test_a_dropped_id_is_remembered_until_its_time_is_over(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    job = make_job("a", policy=SHORT)
    await hand.run(job)
    clock.advance(MINUTE)
    await broker.purge(10)
    clock.advance(9 * MINUTE - 1)

    (answer,) = (await broker.enqueue([job])).results
    assert isinstance(answer, Duplicate)
    assert answer.record.forgotten
    clock.advance(1)
    await stored(broker, job)
    assert ids(await hand.claim()) == ["a"]


async def test_an_id_whose_time_was_over_before_its_retention_is_not_remembered(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    job = make_job(policy=Policy(retention_ms=HOUR, remember_ms=MINUTE))
    await hand.run(job)
    clock.advance(HOUR)
    await broker.purge(10)

    assert list(await broker.get([ref(job)])) == [None]


async def test_an_id_is_taken_as_long_as_its_record_is_there(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    job = make_job(policy=Policy(retention_ms=HOUR, remember_ms=MINUTE))
    await hand.run(job)
    clock.advance(2 * HOUR)

    (answer,) = (await broker.enqueue([job])).results

    assert isinstance(answer, Duplicate)
    assert not answer.record.forgotten


async def test_a_forgotten_id_begins_anew(broker: Broker, hand: Hand, clock: MovableClock) -> None:
    job = make_job("a", policy=SHORT)
    await hand.run(job)
    clock.advance(HOUR)
    await broker.purge(10)
    await stored(broker, job)

    record = await hand.claim_one()

    assert (record.head.attempt, record.created) == (1, clock.time_ms())
    assert (await known(broker, job)).history == ()


@pytest.mark.promise(12)
async def test_after_its_time_nothing_of_a_job_is_left_anywhere(
    broker: Broker, adapter: Adapter, hand: Hand, clock: MovableClock
) -> None:
    async def live_and_be_forgotten(number: int) -> None:
        unique = Unique(key=f"key-{number}", scope=Scope.PERIOD, period_ms=HOUR)
        parent = make_job(policy=SHORT, unique=unique, key=f"slot-{number}")
        child = make_job(policy=SHORT, after=(ref(parent),), due=After(MINUTE))
        cancelled = make_job(policy=SHORT, unique=Unique(key=f"other-{number}"))
        await stored(broker, parent, child, cancelled)
        await hand.end(await known(broker, cancelled), CancelAsked())
        record = await hand.claim_one()
        await broker.note(
            hand.session,
            [
                Step(lease=lease(record), name="a", data=b"1"),
                Progress(lease=lease(record), data=b"1"),
                LogLine(lease=lease(record), at=1, text="line"),
            ],
        )
        await hand.end(record, Succeeded(follow_ups=(make_job(f"{number}/1", policy=SHORT),)))
        await look_around(broker)
        clock.advance(MINUTE)
        for again in await hand.claim():
            await hand.end(again, Failed(error=ErrorInfo(type="E"), give_up=True))
        clock.advance(2 * HOUR)
        await broker.purge(100)
        clock.advance(HOUR)
        await broker.purge(100)
        assert await hand.claim() == []

    await live_and_be_forgotten(0)
    before = await adapter.size(broker)
    for number in range(1, 6):
        await live_and_be_forgotten(number)

    assert await adapter.size(broker) == before


async def test_sessions_that_ended_long_ago_go(
    broker: Broker, adapter: Adapter, clock: MovableClock
) -> None:
    before = await adapter.size(broker)
    for number in range(5):
        await broker.close((await Hand.open(broker, f"worker-{number}")).session)
    clock.advance(90 * DAY)

    await broker.purge(10)

    assert await adapter.size(broker) == before
