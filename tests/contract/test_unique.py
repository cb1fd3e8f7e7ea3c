"""Unique keys: at most one job of a queue holds a key while it is in the key's scope."""

from __future__ import annotations

import pytest

from tests.contract.clock import DAY, HOUR, MINUTE, MovableClock
from tests.contract.hand import (
    HANDED_BACK,
    Hand,
    act,
    ids,
    known,
    make_job,
    reschedule,
    stored,
)
from treadle.broker.base import Applied, Broker, Duplicate
from treadle.domain.job import After, Job, Policy, Ref
from treadle.domain.outcome import CancelAsked, DiscardAsked, RetryAsked, Succeeded
from treadle.domain.state import State
from treadle.domain.unique import Scope, Unique

pytestmark = pytest.mark.anyio

WAITING = Unique(key="welcome:ada", scope=Scope.WAITING)
FINAL = Unique(key="welcome:ada", scope=Scope.FINAL)
PERIOD = Unique(key="welcome:ada", scope=Scope.PERIOD, period_ms=HOUR)


async def holder(broker: Broker, job: Job) -> str | None:
    """Enqueue a job and return who held its key; None if it was stored."""
    (answer,) = (await broker.enqueue([job])).results
    if isinstance(answer, Applied):
        return None
    assert isinstance(answer, Duplicate)
    return answer.record.job.id


@pytest.mark.parametrize("unique", [WAITING, FINAL, PERIOD], ids=lambda u: u.scope)
async def test_a_key_is_held_from_the_enqueue_on(broker: Broker, unique: Unique) -> None:
    await stored(broker, make_job("a", unique=unique))
    second = make_job("b", unique=unique)

    assert await holder(broker, second) == "a"
    assert list(await broker.get([Ref("default", "b")])) == [None]


async def test_two_jobs_of_one_call_cannot_hold_one_key(broker: Broker, hand: Hand) -> None:
    answer = await broker.enqueue([make_job("a", unique=FINAL), make_job("b", unique=FINAL)])

    assert [type(result) for result in answer.results] == [Applied, Duplicate]
    assert ids(await hand.claim()) == ["a"]


async def test_a_delayed_and_a_blocked_job_hold_their_keys(broker: Broker) -> None:
    await stored(broker, make_job("a", unique=WAITING, due=After(HOUR)))
    blocked = make_job("c", unique=Unique(key="other"), after=(Ref("default", "a"),))
    await stored(broker, blocked)

    assert await holder(broker, make_job("b", unique=WAITING)) == "a"
    assert await holder(broker, make_job("d", unique=Unique(key="other"))) == "c"


async def test_a_key_counts_inside_its_queue(broker: Broker) -> None:
    await stored(broker, make_job("a", unique=FINAL))

    assert await holder(broker, make_job("b", unique=FINAL, queue="mail")) is None


async def test_other_keys_are_free(broker: Broker) -> None:
    await stored(broker, make_job("a", unique=FINAL))

    assert await holder(broker, make_job("b", unique=Unique(key="welcome:eve"))) is None


async def test_any_text_is_a_key(broker: Broker) -> None:
    key = "ключ \n'\"; -- %*>\u2028" + "x" * 200
    await stored(broker, make_job("a", unique=Unique(key=key)))

    assert await holder(broker, make_job("b", unique=Unique(key=key))) == "a"


async def test_a_key_held_while_waiting_is_free_once_its_job_runs(
    broker: Broker, hand: Hand
) -> None:
    await stored(broker, make_job("a", unique=WAITING))
    await hand.claim_one()

    assert await holder(broker, make_job("b", unique=WAITING)) is None


async def test_a_job_that_waits_again_holds_its_key_again(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a", unique=WAITING))
    await hand.end(await hand.claim_one(), HANDED_BACK)

    assert await holder(broker, make_job("b", unique=WAITING)) == "a"


async def test_a_job_that_waits_again_does_not_take_its_key_from_another(
    broker: Broker, hand: Hand
) -> None:
    await stored(broker, make_job("a", unique=WAITING))
    record = await hand.claim_one()
    await stored(broker, make_job("b", unique=WAITING))
    await hand.end(record, HANDED_BACK)

    assert await holder(broker, make_job("c", unique=WAITING)) == "b"


async def test_a_key_held_until_final_is_held_while_its_job_runs(
    broker: Broker, hand: Hand
) -> None:
    await stored(broker, make_job("a", unique=FINAL))
    await hand.claim_one()

    assert await holder(broker, make_job("b", unique=FINAL)) == "a"


@pytest.mark.parametrize("unique", [WAITING, FINAL], ids=lambda u: u.scope)
async def test_a_key_is_free_when_its_job_is_final(
    broker: Broker, hand: Hand, unique: Unique
) -> None:
    await hand.run(make_job("a", unique=unique))

    assert await holder(broker, make_job("b", unique=unique)) is None
    assert await holder(broker, make_job("c", unique=unique)) == "b"


async def test_a_key_is_free_when_its_job_was_cancelled(broker: Broker, hand: Hand) -> None:
    job = make_job("a", unique=FINAL)
    await stored(broker, job)
    await hand.end(await known(broker, job), CancelAsked())

    assert await holder(broker, make_job("b", unique=FINAL)) is None


async def test_a_key_held_for_a_period_is_free_after_it(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await hand.run(make_job("a", unique=PERIOD))
    clock.advance(HOUR - 1)

    assert await holder(broker, make_job("b", unique=PERIOD)) == "a"
    clock.advance(1)
    assert await holder(broker, make_job("b", unique=PERIOD)) is None


async def test_a_key_held_for_a_period_is_free_after_it_though_its_job_still_waits(
    broker: Broker, clock: MovableClock
) -> None:
    await stored(broker, make_job("a", unique=PERIOD, due=After(DAY)))
    clock.advance(HOUR)

    assert await holder(broker, make_job("b", unique=PERIOD)) is None


async def test_a_key_held_for_a_period_outlives_its_record(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    policy = Policy(retention_ms=MINUTE, remember_ms=MINUTE)
    await hand.run(make_job("a", unique=PERIOD, policy=policy))
    clock.advance(30 * MINUTE)
    assert await broker.purge(10) == 1

    assert await holder(broker, make_job("b", unique=PERIOD)) == "a"
    clock.advance(30 * MINUTE)
    assert await holder(broker, make_job("b", unique=PERIOD)) is None


async def test_the_key_of_a_removed_record_is_free(broker: Broker, hand: Hand) -> None:
    await hand.end(await hand.run(make_job("a", unique=FINAL)), DiscardAsked())

    assert await holder(broker, make_job("b", unique=FINAL)) is None


async def test_removing_an_earlier_holder_leaves_the_key_to_the_new_one(
    broker: Broker, hand: Hand
) -> None:
    earlier = await hand.run(make_job("a", unique=FINAL))
    await stored(broker, make_job("b", unique=FINAL))
    await hand.end(earlier, DiscardAsked())

    assert await holder(broker, make_job("c", unique=FINAL)) == "b"


async def test_a_new_run_takes_the_key_again(broker: Broker, hand: Hand) -> None:
    record = await hand.run(make_job("a", unique=FINAL))

    await hand.end(record, RetryAsked())

    assert await holder(broker, make_job("b", unique=FINAL)) == "a"


async def test_a_new_run_is_refused_while_another_job_holds_the_key(
    broker: Broker, hand: Hand
) -> None:
    record = await hand.run(make_job("a", unique=FINAL))
    await stored(broker, make_job("b", unique=FINAL))

    answer = await act(broker, record, RetryAsked())

    assert isinstance(answer, Duplicate)
    assert answer.record.job.id == "b"
    assert await known(broker, record.job) == record


async def test_the_same_id_and_key_again_answers_with_the_job_itself(broker: Broker) -> None:
    job = make_job("a", unique=FINAL)
    await stored(broker, job)

    assert await holder(broker, job) == "a"


async def test_a_replaced_holder_keeps_its_key(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    job = make_job("a", unique=FINAL)
    await stored(broker, job)
    newer = make_job("a", unique=FINAL, payload=b'{"n":2}')

    await reschedule(broker, job, clock.time_ms(), newer)

    assert await holder(broker, make_job("b", unique=FINAL)) == "a"
    assert (await hand.claim_one()).job.payload == b'{"n":2}'


async def test_a_refused_job_takes_no_key(broker: Broker) -> None:
    await broker.set_queue_limit("default", 0)
    await broker.enqueue([make_job("a", unique=FINAL)])
    await broker.set_queue_limit("default", None)

    assert await holder(broker, make_job("b", unique=FINAL)) is None


async def test_a_duplicate_shows_the_state_of_the_holder(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a", unique=FINAL))
    await hand.claim_one()

    (answer,) = (await broker.enqueue([make_job("b", unique=FINAL)])).results

    assert isinstance(answer, Duplicate)
    assert answer.record.head.state is State.RUNNING


async def test_a_follow_up_does_not_take_a_key_that_is_held(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("parent"))
    parent = await hand.claim_one()
    await stored(broker, make_job("a", unique=FINAL))

    await hand.end(parent, Succeeded(follow_ups=(make_job("parent/1", unique=FINAL),)))

    assert ids(await hand.claim()) == ["a"]
