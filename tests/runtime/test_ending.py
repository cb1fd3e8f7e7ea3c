"""How a worker ends: drain, lost leases, names that were taken, restarts in place."""

from __future__ import annotations

import random

import anyio
import pytest

from tests.support.works import Works
from treadle.domain.decide import decide
from treadle.domain.job import OnCrash, Policy
from treadle.domain.outcome import Change, Succeeded
from treadle.domain.state import State
from treadle.errors import SessionEnded
from treadle.runtime.context import Context

pytestmark = pytest.mark.anyio


@pytest.mark.contract("F05", "R16")
@pytest.mark.promise(8)
async def test_a_drain_hands_unstarted_jobs_back_and_lets_running_ones_finish(works: Works) -> None:
    both = anyio.Event()
    started: list[str] = []

    @works.registry.handler("work")
    async def work(ctx: Context) -> None:
        started.append(ctx.job_id)
        if len(started) == 2:
            both.set()
        await anyio.sleep(5)

    ids = [await works.enqueue("work") for _ in range(6)]

    async with works.worker(concurrency=2) as worker:
        await both.wait()
        worker.drain()

    states = [await works.state(id) for id in ids]
    assert states == [State.SUCCEEDED] * 2 + [State.WAITING] * 4
    assert [(await works.get(id)).head.attempt for id in ids] == [1] * 2 + [0] * 4
    assert list(await works.broker.sessions()) == []


@pytest.mark.promise(8)
async def test_after_the_grace_period_running_jobs_are_handed_back_uncounted(works: Works) -> None:
    @works.registry.handler("long")
    async def long() -> None:
        await anyio.sleep(3600)

    id = await works.enqueue("long")
    began = works.clock.monotonic()

    async with works.worker(grace_ms=3_000) as worker:
        await works.until_running(id)
        worker.drain()

    record = await works.get(id)
    assert (record.head.state, record.head.attempt, record.head.deaths) == (State.WAITING, 0, 0)
    assert works.clock.monotonic() - began <= 3_000 / 1000 + 2


@pytest.mark.promise(8)
async def test_a_second_drain_means_no_grace(works: Works) -> None:
    @works.registry.handler("long")
    async def long() -> None:
        await anyio.sleep(3600)

    id = await works.enqueue("long")
    began = works.clock.monotonic()

    async with works.worker(grace_ms=600_000) as worker:
        await works.until_running(id)
        worker.drain()
        worker.drain(0)

    assert await works.state(id) is State.WAITING
    assert works.clock.monotonic() - began < 5


@pytest.mark.promise(8)
async def test_at_most_once_jobs_go_to_the_dead_letters_when_they_are_cut_off(works: Works) -> None:
    begun = anyio.Event()

    @works.registry.handler("once")
    async def once() -> None:
        begun.set()
        await anyio.sleep(3600)

    id = await works.enqueue("once", policy=Policy(on_crash=OnCrash.DEAD))

    async with works.worker(grace_ms=0) as worker:
        await begun.wait()
        worker.drain(0)

    record = await works.get(id)
    assert (record.head.state, record.head.reason) == (State.DEAD, "interrupted")


@pytest.mark.promise(4)
async def test_a_worker_whose_name_was_taken_stops_and_says_so(works: Works) -> None:
    @works.registry.handler("long")
    async def long() -> None:
        await anyio.sleep(3600)

    id = await works.enqueue("long")
    worker = works.make_worker()

    async with anyio.create_task_group() as tasks:

        async def usurp() -> None:
            await works.until_running(id)
            await works.broker.open("w1", 15_000, b"{}")

        tasks.start_soon(usurp)
        with pytest.raises(SessionEnded) as caught:
            await worker.run()
        assert caught.value.taken

    assert await works.state(id) is State.RUNNING  # its fate is another one's decision


@pytest.mark.promise(5)
async def test_a_dead_workers_jobs_start_again_within_one_lease_and_a_sweep(works: Works) -> None:
    @works.registry.handler("work")
    async def work() -> None: ...

    id = await works.enqueue("work")
    dead = await works.broker.open("dead", 15_000, b"{}")
    await works.broker.claim(dead.session, ["default"], 1)
    died = works.clock.time_ms()

    async with works.worker():
        (record,) = await works.until_final(id)

    assert record.head.state is State.SUCCEEDED
    assert record.head.claimed - died <= 18_000
    assert (record.head.attempt, record.head.deaths) == (1, 1)


@pytest.mark.promise(5)
async def test_a_worker_restarted_in_place_takes_over_at_once(works: Works) -> None:
    @works.registry.handler("work")
    async def work() -> None: ...

    id = await works.enqueue("work")
    former = await works.broker.open("w1", 15_000, b"{}")
    await works.broker.claim(former.session, ["default"], 1)
    died = works.clock.time_ms()

    async with works.worker():
        (record,) = await works.until_final(id)

    assert record.head.claimed - died <= 2_000
    assert [row.event for row in record.history] == ["lose", "succeed"]


@pytest.mark.promise(4)
async def test_a_late_result_of_a_stale_attempt_is_dropped_and_counted(works: Works) -> None:
    begun, release = anyio.Event(), anyio.Event()

    @works.registry.handler("work")
    async def work() -> str:
        begun.set()
        await release.wait()
        return "late"

    id = await works.enqueue("work")

    async with works.worker(beat_ms=3_600_000, lease_ms=3_600_000, sweep_ms=3_600_000) as worker:
        await begun.wait()
        record = await works.get(id)
        other = Succeeded(result=b'"other"')
        write = decide(record, other, record.job.policy, works.clock.time_ms(), random.Random(1))
        assert isinstance(write, Change)
        await works.broker.apply([write])
        release.set()

    assert worker.report.lease_lost == 1
    assert (await works.get(id)).result == b'"other"'
