"""Nothing of a job or a session is left in a store once its time is over: counted from the inside."""

from __future__ import annotations

import pytest

from tests.contract.adapters import Adapter
from treadle.broker.base import Broker, LogLine, Progress, Step
from treadle.conformance.clock import DAY, HOUR, MINUTE, MovableClock
from treadle.conformance.hand import Hand, known, lease, look_around, make_job, ref, stored
from treadle.domain.job import After, ErrorInfo, Policy
from treadle.domain.outcome import CancelAsked, Failed, Succeeded
from treadle.domain.unique import Scope, Unique

pytestmark = pytest.mark.anyio

SHORT = Policy(retention_ms=MINUTE, dead_retention_ms=HOUR, remember_ms=10 * MINUTE)


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
