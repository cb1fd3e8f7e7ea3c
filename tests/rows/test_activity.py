"""Contract rows about what can be read afterwards: what happened to jobs, and when."""

from __future__ import annotations

import pytest

from tests.support.places import Place
from treadle import Context
from treadle.domain.job import Ref

pytestmark = pytest.mark.anyio


@pytest.mark.contract("F08")
async def test_what_happens_to_jobs_can_be_read_in_order_with_times(place: Place) -> None:
    @place.jobs.handler("report", retry=1)
    async def report(ctx: Context) -> None:
        ctx.log(f"attempt {ctx.attempt}")
        if ctx.attempt == 1:
            raise ValueError("no paper")

    cursor = (await place.broker.events(None)).cursor
    begun = place.clock.time_ms()
    job = await report.enqueue()
    await place.burst()
    place.clock.advance(3_600_000)
    await place.burst()

    answer = await place.broker.events(cursor, limit=1_000)
    activity = [(entry.event, entry.state) for entry in answer.entries if entry.id == job.id]
    times = [entry.at for entry in answer.entries if entry.id == job.id]
    assert activity == [
        ("enqueue", "waiting"),
        ("claim", "running"),
        ("fail", "waiting"),
        ("claim", "running"),
        ("succeed", "succeeded"),
    ]
    assert times == sorted(times)
    assert begun <= times[0] <= times[2] < begun + 3_600_000 <= times[3] <= place.clock.time_ms()


@pytest.mark.contract("R15")
async def test_what_a_handler_says_is_kept_with_the_job(place: Place) -> None:
    @place.jobs.handler("report", retry=0)
    async def report(ctx: Context, pages: int) -> None:
        for page in range(pages):
            ctx.log(f"page {page}")
        raise ValueError("no paper")

    begun = place.clock.time_ms()
    job = await report.enqueue(2)
    await place.burst()

    notes = await place.broker.notes(Ref("default", job.id))
    assert [text for _, _, text in notes.log] == ["page 0", "page 1"]
    assert all(begun <= at <= place.clock.time_ms() for _, at, _ in notes.log)
