"""Several event loops in several threads share one store: no job twice, none lost, none stuck."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import anyio.to_thread

from treadle.conformance.case import case
from treadle.conformance.hand import Hand, ids, make_job, stored, write
from treadle.conformance.lab import Lab
from treadle.domain.outcome import Succeeded

JOBS = 400
LONG_MS = 30_000


async def in_threads(backend: str, *works: Callable[[], Awaitable[None]]) -> None:
    """Run each work on an event loop of its own in a thread of its own."""

    async def run(work: Callable[[], Awaitable[None]]) -> None:
        await anyio.to_thread.run_sync(partial(anyio.run, work, backend=backend))

    async with anyio.create_task_group() as group:
        for work in works:
            group.start_soon(run, work)


@case(
    "C811",
    "claimers in several threads run each job once",
    promises=(
        1,
        4,
    ),
)
async def claimers_in_several_threads_run_each_job_once(lab: Lab) -> None:
    broker = lab.broker
    names = [f"job-{number}" for number in range(JOBS)]
    ran: Counter[str] = Counter()
    over = threading.Event()

    def worker(name: str) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            async with broker.another() as own:
                hand = await Hand.open(own, name)
                while not over.is_set():
                    records = await hand.claim(7, wait_ms=50)
                    writes = [write(record, Succeeded(), record.head.claimed) for record in records]
                    await own.apply(writes)
                    ran.update(ids(records))
                    if sum(ran.values()) >= JOBS:
                        over.set()

        return run

    async def produce() -> None:
        async with broker.another() as own:
            for start in range(0, JOBS, 20):
                await stored(own, *(make_job(name) for name in names[start : start + 20]))

    with anyio.fail_after(50):
        await in_threads(lab.backend, produce, *(worker(f"worker-{n}") for n in range(3)))

    assert ran == Counter(names)
    counts = (await broker.stats()).queues[0]
    assert (counts.succeeded, counts.waiting, counts.running) == (JOBS, 0, 0)


@case("C812", "a claim waits on one loop for what another stores")
async def a_claim_waits_on_one_loop_for_what_another_stores(lab: Lab) -> None:
    broker = lab.broker
    claimed: list[str] = []
    asleep = threading.Event()

    async def wait() -> None:
        async with broker.another() as own:
            hand = await Hand.open(own)
            async with anyio.create_task_group() as group:

                async def claim() -> None:
                    claimed.extend(ids(await hand.claim(1, wait_ms=LONG_MS)))

                group.start_soon(claim)
                await lab.quiet()
                asleep.set()

    async def produce() -> None:
        async with broker.another() as own:
            await anyio.to_thread.run_sync(asleep.wait)
            await stored(own, make_job("a"))

    with anyio.fail_after(20):
        await in_threads(lab.backend, wait, produce)

    assert claimed == ["a"]
