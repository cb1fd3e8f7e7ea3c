"""A full disk: new jobs are refused, running ones still finish, and space that returns is used."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from treadle.broker.base import Applied
from treadle.broker.sqlite import SqliteBroker
from treadle.broker.url import parse
from treadle.conformance.clock import HOUR, MovableClock
from treadle.conformance.hand import PATIENT_MS, Hand, make_job, ref, stored, write
from treadle.domain.outcome import RefusalCode, Refused, Succeeded

pytestmark = [pytest.mark.anyio, pytest.mark.promise(13)]

PAYLOAD = b'"%s"' % (b"x" * 3_000)


@pytest.fixture
async def broker(file: Path, clock: MovableClock) -> AsyncIterator[SqliteBroker]:
    """Return a broker whose file may have 400 pages."""
    async with SqliteBroker(parse(f"sqlite:///{file}?max_pages=400"), clock) as broker:
        yield broker


@pytest.fixture
async def hand(broker: SqliteBroker) -> Hand:
    return await Hand.open(broker, lease_ms=PATIENT_MS)


async def fill(broker: SqliteBroker) -> int:
    """Store jobs until one is refused; return how many were stored."""
    for number in range(1_000):
        (answer,) = (await broker.enqueue([make_job(payload=PAYLOAD)])).results
        if isinstance(answer, Refused):
            assert answer.code is RefusalCode.STORAGE_FULL
            return number
    raise AssertionError("the file has no end")


async def test_enqueue_is_refused_while_running_jobs_still_finish(
    broker: SqliteBroker, hand: Hand
) -> None:
    count = await fill(broker)

    records = await hand.claim(count)
    now = records[0].head.claimed
    result = b'"%s"' % (b"r" * 200)
    writes = [write(record, Succeeded(result=result), now) for record in records]
    settled = await broker.apply(writes)

    assert len(records) == count
    assert all(isinstance(answer, Applied) for answer in settled.results)


async def test_enqueue_succeeds_again_when_space_returns(
    broker: SqliteBroker, hand: Hand, clock: MovableClock
) -> None:
    count = await fill(broker)
    records = await hand.claim(count)
    await broker.apply([write(record, Succeeded(), record.head.claimed) for record in records])

    clock.advance(2 * HOUR)
    assert await broker.purge(count) == count

    await stored(broker, make_job("again", payload=PAYLOAD))


async def test_one_job_that_finds_no_room_takes_no_neighbour_with_it(
    broker: SqliteBroker, hand: Hand
) -> None:
    huge = make_job("huge", payload=b'"%s"' % (b"x" * 3_000_000))
    small = make_job("small")
    answers: dict[str, object] = {}

    async def enqueue(name: str) -> None:
        job = huge if name == "huge" else small
        answers[name] = (await broker.enqueue([job])).results[0]

    async def pulse() -> None:
        answers["pulse"] = await broker.heartbeat(hand.session, [])

    async with anyio.create_task_group() as group:
        group.start_soon(enqueue, "huge")
        group.start_soon(enqueue, "small")
        group.start_soon(pulse)

    assert isinstance(answers["huge"], Refused)
    assert answers["huge"].code is RefusalCode.STORAGE_FULL
    assert isinstance(answers["small"], Applied)
    assert (await broker.get([ref(huge)])) == [None]
