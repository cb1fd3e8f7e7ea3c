"""What a worker holds does not grow with the work done, nor what is stored with the work forgotten."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from tests.support.places import Place
from treadle.conformance.clock import DAY, HOUR
from treadle.domain.job import Job, Policy

pytestmark = [pytest.mark.anyio, pytest.mark.promise(12)]

ROUND = 5_000
KEPT_SHORT = Policy(retention_ms=0, dead_retention_ms=0, remember_ms=0, max_attempts=1)


@pytest.mark.slow
async def test_thirty_thousand_jobs_leave_no_memory_behind(place: Place) -> None:
    @place.jobs.handler("work")
    async def work(text: str) -> str:
        return text

    payload = b'{"text": "%s"}' % (b"x" * 200)
    sizes: list[int] = []

    for number in range(6):
        if number == 2:
            tracemalloc.start()  # what is cached for good is there by now
        jobs = [
            Job(id=f"{number}-{n}", type="work", payload=payload, policy=KEPT_SHORT)
            for n in range(ROUND)
        ]
        await place.broker.enqueue(jobs)
        del jobs
        worker = await place.burst(concurrency=50)
        assert worker.report.succeeded == ROUND
        del worker
        place.clock.advance(1)
        while await place.broker.purge(ROUND):
            pass
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.stop()
    grown = sizes[-1] - sizes[2]
    assert grown < 2 * 1024 * 1024, f"15,000 jobs cost {grown} bytes: {sizes}"


async def test_the_store_returns_to_its_size_after_retention(place: Place) -> None:
    @place.jobs.handler("work")
    async def work(how: str) -> str:
        if how == "fail":
            raise ValueError("no")
        return how

    await _round(place, 3)
    before = await place.adapter.size(place.broker)

    await _round(place, 200)
    kept = await place.adapter.size(place.broker)
    place.clock.advance(31 * DAY)
    await _forget(place)

    assert kept > before + 200
    assert await place.adapter.size(place.broker) <= before
    stats = (await place.broker.stats()).queues
    assert all(queue.succeeded == queue.dead == queue.waiting == 0 for queue in stats)


async def _round(place: Place, count: int) -> None:
    policy = Policy(max_attempts=1, retention_ms=HOUR)
    for how in ("well", "fail"):
        payload = b'{"how": "%s"}' % how.encode()
        jobs = [
            Job(id=f"{count}-{how}-{n}", type="work", payload=payload, policy=policy)
            for n in range(count // 2)
        ]
        await place.broker.enqueue(jobs)
    await place.burst()


async def _forget(place: Place) -> None:
    for _ in range(3):
        while await place.broker.purge(1_000):
            pass
        place.clock.advance(DAY)


async def test_a_worker_holds_no_more_than_its_slots_and_a_prefetch(place: Place) -> None:
    most = 0
    running = 0

    @place.jobs.handler("work")
    async def work() -> None:
        nonlocal most, running
        running += 1
        stats = (await place.broker.stats()).queues[0]
        most = max(most, stats.running)
        running -= 1

    for _ in range(4):
        await place.broker.enqueue(
            [Job(id=f"{_}-{n}", type="work", policy=KEPT_SHORT) for n in range(250)]
        )

    await place.burst(concurrency=10)

    assert 0 < most <= 20, "ten slots, and at most as many prefetched"
