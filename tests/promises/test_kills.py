"""Workers that stop existing at any await: each accepted job is done once, whatever was lost with them."""

from __future__ import annotations

import random
from collections import Counter

import anyio
import pytest

from tests.support.places import Place
from treadle import Context
from treadle.domain.decide import decide
from treadle.domain.outcome import Change, Succeeded
from treadle.domain.state import State
from treadle.runtime.worker import Worker

pytestmark = [pytest.mark.anyio]

SEEDS = range(3)


async def _live_a_while(worker: Worker, ms: float) -> None:
    """Run a worker that is gone after some ms: nothing is handed back, settled or closed."""
    with anyio.move_on_after(ms / 1_000):
        await worker.run()


@pytest.mark.promise(1, 4, 5, 7)
@pytest.mark.parametrize("seed", SEEDS)
async def test_workers_that_vanish_lose_no_job_and_end_none_twice(place: Place, seed: int) -> None:
    rng = random.Random(seed)
    ran: Counter[str] = Counter()

    @place.jobs.handler("work")
    async def work(ctx: Context, ms: int) -> None:
        await anyio.sleep(ms / 1_000)
        ran[ctx.job_id] += 1

    @place.jobs.handler("fail", retry=0)
    async def fail() -> None:
        raise ValueError("no")

    ids = [await place.store("work", b'{"ms": %d}' % rng.randint(0, 4)) for _ in range(80)]
    failing = [(await fail.enqueue()).id for _ in range(5)]

    for _ in range(6):
        worker = place.make_worker(name="w1", concurrency=4, beat_in_thread=False)
        await _live_a_while(worker, rng.uniform(5, 40))
    async with place.worker(name="w1", concurrency=10, sweep_ms=100):
        records = await place.until_final(*ids)
        dead = await place.until_final(*failing)

    # Three deaths, the last of them alone: that is what the kills look like from outside.
    spared = [record for record in records if record.head.reason != "quarantined"]
    for record in spared:
        events = Counter(row.event for row in record.history)
        assert record.head.state is State.SUCCEEDED
        assert events["succeed"] == 1
        assert record.head.attempt == 1, "a death uses up no attempt"
        assert ran[record.job.id] >= 1
    for record in dead:
        fails = sum(row.event == "fail" for row in record.history)
        ran_to_its_end = 0 if record.head.reason == "quarantined" else 1
        assert (record.head.state, record.head.attempt, fails) == (
            State.DEAD,
            ran_to_its_end,
            ran_to_its_end,
        )
    stats = (await place.broker.stats()).queues[0]
    assert (stats.waiting, stats.running, stats.blocked) == (0, 0, 0)


@pytest.mark.promise(5)
async def test_a_worker_restarted_under_its_name_takes_its_jobs_over_at_once(place: Place) -> None:
    @place.jobs.handler("work")
    async def work(ctx: Context) -> int:
        return ctx.attempt

    ids = [await place.store("work") for _ in range(2)]
    former = await place.broker.open("w1", 3_600_000, b"{}")
    await place.broker.claim(former.session, ["default"], 2)

    began = place.clock.time_ms()
    async with place.worker():
        records = await place.until_final(*ids)

    assert {record.head.state for record in records} == {State.SUCCEEDED}
    assert {record.result for record in records} == {b"1"}
    assert all(record.head.claimed - began < 600_000 for record in records), "not after an hour"
    assert {tuple(row.event for row in record.history) for record in records} == {
        ("lose", "succeed")
    }


@pytest.mark.promise(4)
async def test_a_zombies_late_result_is_refused_and_counted(place: Place) -> None:
    release = anyio.Event()

    @place.jobs.handler("work")
    async def work() -> str:
        await release.wait()
        return "zombie"

    id = await place.store("work")

    async with place.worker(beat_in_thread=False, sweep_ms=3_600_000) as zombie:
        running = await place.until(id, State.RUNNING)
        other = Succeeded(result=b'"other"')
        now = place.clock.time_ms()
        write = decide(running, other, running.job.policy, now, random.Random(1))
        assert isinstance(write, Change)
        await place.broker.apply([write])
        ended = await place.get(id)
        release.set()

    again = await place.get(id)
    assert zombie.report.lease_lost == 1
    assert (again.result, again.head.fence) == (b'"other"', ended.head.fence)
