"""An id that is given again, after its first job was forgotten, inherits nothing."""

from __future__ import annotations

import pytest

from treadle.broker.base import Applied, Broker
from treadle.conformance.clock import MINUTE, MovableClock
from treadle.conformance.hand import Hand, change, known, make_job, stored
from treadle.domain.job import Policy, Ref
from treadle.domain.outcome import Succeeded
from treadle.domain.unique import Unique

pytestmark = pytest.mark.anyio

BRIEF = Policy(retention_ms=MINUTE, remember_ms=2 * MINUTE)
KEY = Unique(key="k")


async def forget_the_holder(broker: Broker, hand: Hand, clock: MovableClock) -> None:
    """Let a job `a` take the key, end, be purged, and be forgotten."""
    await hand.run(make_job("a", unique=KEY, policy=BRIEF))
    clock.advance(MINUTE)
    assert await broker.purge(10) == 1
    clock.advance(5 * MINUTE)


async def test_a_job_with_the_id_of_a_forgotten_one_holds_not_its_key(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await forget_the_holder(broker, hand, clock)
    await stored(broker, make_job("a"))

    (answer,) = (await broker.enqueue([make_job("b", unique=KEY)])).results

    assert isinstance(answer, Applied)


async def test_nor_does_one_that_was_stored_with_many_others(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await forget_the_holder(broker, hand, clock)
    await stored(broker, *(make_job(f"n-{number}") for number in range(20)), make_job("a"))

    (answer,) = (await broker.enqueue([make_job("b", unique=KEY)])).results

    assert isinstance(answer, Applied)


async def test_nor_does_a_follow_up(broker: Broker, hand: Hand, clock: MovableClock) -> None:
    await forget_the_holder(broker, hand, clock)
    await stored(broker, make_job("parent"))
    record = await hand.claim_one()
    ended = change(record, Succeeded(follow_ups=(make_job("a"),)), clock.time_ms())
    await broker.apply([ended])

    (answer,) = (await broker.enqueue([make_job("b", unique=KEY)])).results

    assert isinstance(answer, Applied)


async def test_the_key_that_it_takes_itself_is_its_own(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await forget_the_holder(broker, hand, clock)
    await stored(broker, make_job("a", unique=KEY))

    (answer,) = (await broker.enqueue([make_job("b", unique=KEY)])).results

    assert not isinstance(answer, Applied)


@pytest.mark.promise(4)
async def test_no_fence_of_the_forgotten_job_is_given_again(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await forget_the_holder(broker, hand, clock)
    many = [make_job(f"n-{number}") for number in range(20)]

    answers = (await broker.enqueue([*many, make_job("a")])).results

    assert {answer.fence for answer in answers if isinstance(answer, Applied)} == {4}
    assert (await known(broker, Ref("default", "a"))).head.fence == 4


@pytest.mark.promise(4)
async def test_nor_to_a_follow_up(broker: Broker, hand: Hand, clock: MovableClock) -> None:
    await forget_the_holder(broker, hand, clock)
    await stored(broker, make_job("parent"))
    record = await hand.claim_one()
    ended = change(record, Succeeded(follow_ups=(make_job("a"),)), clock.time_ms())

    await broker.apply([ended])

    assert (await known(broker, Ref("default", "a"))).head.fence == 4
