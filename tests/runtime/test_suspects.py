"""Deaths are counted apart from failures; suspects run alone, and innocents are cleared."""

from __future__ import annotations

import anyio
import pytest

from tests.support.works import Works
from treadle.domain.job import Policy
from treadle.domain.state import State
from treadle.runtime.context import Context

pytestmark = pytest.mark.anyio


async def die(works: Works, name: str, count: int) -> None:
    """Claim jobs as a worker that then dies without a word, and let its lease end."""
    opened = await works.broker.open(name, 1_000, b"{}")
    await works.broker.claim(opened.session, ["default"], count)


@pytest.mark.promise(7)
async def test_a_suspect_runs_while_nothing_else_does(works: Works) -> None:
    together: set[str] = set()
    running: set[str] = set()

    @works.registry.handler("work")
    async def work(ctx: Context, suspect: bool) -> None:
        running.add(ctx.job_id)
        await anyio.sleep(1)
        if suspect and len(running) > 1:
            together.update(running)
        running.discard(ctx.job_id)

    suspect = await works.enqueue("work", b'{"suspect": true}')
    await die(works, "dead", 1)
    others = [await works.enqueue("work", b'{"suspect": false}') for _ in range(20)]

    async with works.worker(concurrency=5):
        records = await works.until_final(suspect, *others)

    assert {record.head.state for record in records} == {State.SUCCEEDED}
    assert records[0].head.deaths == 1
    assert together == set()


@pytest.mark.promise(7)
async def test_two_suspects_do_not_run_beside_each_other(works: Works) -> None:
    running = 0
    most = 0

    @works.registry.handler("work")
    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(1)
        running -= 1

    suspects = [await works.enqueue("work") for _ in range(2)]
    await die(works, "dead", 2)

    async with works.worker(concurrency=5):
        records = await works.until_final(*suspects)

    assert [record.head.deaths for record in records] == [1, 1]
    assert most == 1


@pytest.mark.promise(7)
async def test_the_time_limit_of_a_suspect_counts_from_when_it_is_alone(works: Works) -> None:
    @works.registry.handler("work")
    async def work(seconds: int) -> None:
        await anyio.sleep(seconds)

    suspect = await works.enqueue("work", b'{"seconds": 1}', policy=Policy(timeout_ms=2_000))
    await die(works, "dead", 1)
    neighbour = await works.enqueue("work", b'{"seconds": 20}')

    async with works.worker(concurrency=5):
        records = await works.until_final(suspect, neighbour)

    assert [record.head.state for record in records] == [State.SUCCEEDED, State.SUCCEEDED]
    assert records[0].head.finished > records[1].head.finished, "it had to wait"


@pytest.mark.promise(7)
async def test_a_worker_death_uses_up_no_attempt(works: Works) -> None:
    @works.registry.handler("work")
    async def work() -> None: ...

    id = await works.enqueue("work", policy=Policy(max_attempts=1))
    await die(works, "dead", 1)

    async with works.worker():
        (record,) = await works.until_final(id)

    assert (record.head.state, record.head.attempt) == (State.SUCCEEDED, 1)


@pytest.mark.promise(7)
async def test_a_job_present_at_three_deaths_is_quarantined_with_all_of_them_listed(
    works: Works,
) -> None:
    id = await works.enqueue("work")

    async with works.worker(concurrency=1, selection=works.nothing):
        for life in ("one", "two", "three"):
            await works.until_waiting(id)
            await die(works, life, 1)
        (record,) = await works.until_final(id)

    assert (record.head.state, record.head.reason) == (State.DEAD, "quarantined")
    assert [row.event for row in record.history] == ["lose"] * 3
    assert all(row.error is not None and row.session for row in record.history)


@pytest.mark.promise(7)
async def test_a_burst_runs_all_suspects_of_a_death_before_it_ends(works: Works) -> None:
    @works.registry.handler("work")
    async def work() -> None: ...

    suspects = [await works.enqueue("work") for _ in range(7)]
    await die(works, "w1", 7)

    await works.burst(concurrency=10)

    assert {await works.state(id) for id in suspects} == {State.SUCCEEDED}
