"""The fences of an id go on where they were when it was forgotten."""

from __future__ import annotations

import pytest

from treadle.broker.base import Applied, Broker
from treadle.conformance.clock import MINUTE, MovableClock
from treadle.conformance.hand import Hand, change, known, make_job, stored
from treadle.domain.job import Policy, Ref
from treadle.domain.outcome import Succeeded

pytestmark = pytest.mark.anyio

BRIEF = Policy(retention_ms=MINUTE, remember_ms=2 * MINUTE)


async def forget_a_job(broker: Broker, hand: Hand, clock: MovableClock) -> None:
    """Let a job `a` end, be purged, and be forgotten."""
    await hand.run(make_job("a", policy=BRIEF))
    clock.advance(MINUTE)
    assert await broker.purge(10) == 1
    clock.advance(5 * MINUTE)


@pytest.mark.promise(4)
async def test_no_fence_of_the_forgotten_job_is_given_again(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await forget_a_job(broker, hand, clock)
    many = [make_job(f"n-{number}") for number in range(20)]

    answers = (await broker.enqueue([*many, make_job("a")])).results

    assert {answer.fence for answer in answers if isinstance(answer, Applied)} == {4}
    assert (await known(broker, Ref("default", "a"))).head.fence == 4


@pytest.mark.promise(4)
async def test_nor_is_one_given_to_a_follow_up(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await forget_a_job(broker, hand, clock)
    await stored(broker, make_job("parent"))
    record = await hand.claim_one()
    ended = change(record, Succeeded(follow_ups=(make_job("a"),)), clock.time_ms())

    await broker.apply([ended])

    assert (await known(broker, Ref("default", "a"))).head.fence == 4
