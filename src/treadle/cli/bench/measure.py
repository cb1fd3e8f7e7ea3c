"""The measurements: the whole path of Treadle, in one process, beside the raw loop of the same run.

A job is a no-op async handler with a payload of about 220 bytes that is validated, three layers
of middleware, a time limit, results and history kept; it is acknowledged after it ran.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice

import anyio
from msgspec import Struct

from treadle import Attempt, Jobs, Next, Outcome
from treadle.cli.bench.raw import Raw
from treadle.runtime.handlers import Handler
from treadle.runtime.options import WorkerOptions
from treadle.runtime.worker import Worker
from treadle.settings import Settings

SLOTS = 200
AWAITING = 100
PAYLOAD = {
    "to": "ada@example.com",
    "subject": "Your order has shipped",
    "order_id": 1_234_567,
    "lines": ["one blue chair", "two lamps", "a box of screws"],
    "note": "Leave it with the neighbours if nobody answers the door, please.",
}


class Measured(Struct, frozen=True, kw_only=True):
    """One line of the result."""

    broker: str
    measure: str
    jobs: int
    seconds: float
    jobs_per_second: float
    cpu_us_per_job: float
    """Processor time of this process for each job, in microseconds: a neighbour on the same machine
    changes it less than the rate."""
    raw_per_second: float | None
    ratio: float | None
    """Jobs per second over those of the raw loop."""
    complete: bool
    """Every job that was enqueued is stored, or succeeded."""


async def _layer(attempt: Attempt, call_next: Next) -> Outcome:
    return await call_next(attempt)


async def _noop(to: str, subject: str, order_id: int, lines: list[str], note: str) -> str:
    """Do nothing."""
    del to, subject, order_id, lines, note
    return "done"


class Spent(Struct, frozen=True):
    """How long something took, and how much processor time of this process."""

    seconds: float
    cpu_seconds: float


class Watch:
    """Measures from when it is made."""

    def __init__(self) -> None:
        self._began, self._cpu_began = time.perf_counter(), time.process_time()

    def read(self) -> Spent:
        """Return what has been spent until now."""
        return Spent(time.perf_counter() - self._began, time.process_time() - self._cpu_began)


class Bench:
    """Measures one broker; makes its own app on the store of the settings."""

    def __init__(self, settings: Settings, raw: Raw, jobs: int) -> None:
        self._count = jobs
        self._jobs = Jobs(settings=settings)
        self._raw = raw
        for _ in range(3):
            self._jobs.use(_layer)
        register = self._jobs.handler("bench.noop", timeout=30)
        self._handler: Handler[..., str] = register(_noop)

    async def run(self) -> Sequence[Measured]:
        """Measure enqueueing one at a time, many at a time, and draining what was enqueued."""
        jobs = self._count
        async with self._jobs:
            before = await self._succeeded()
            singles = await self._enqueue(jobs)
            many = await self._enqueue_many(jobs)
            drained = await self._drain()
            done = await self._succeeded() - before
        first = self._measured("enqueue", jobs, singles, self._raw.enqueue(jobs))
        second = self._measured("enqueue_many", jobs, many, self._raw.enqueue_many(jobs))
        third = self._measured("drain", done, drained, self._raw.drain(2 * jobs), wanted=2 * jobs)
        return [first, second, third]

    def _measured(
        self,
        measure: str,
        jobs: int,
        spent: Spent,
        raw: float | None,
        *,
        wanted: int | None = None,
    ) -> Measured:
        rate = jobs / spent.seconds
        return Measured(
            broker=self._jobs.url.scheme,
            measure=measure,
            jobs=jobs,
            seconds=round(spent.seconds, 3),
            jobs_per_second=round(rate, 1),
            cpu_us_per_job=round(spent.cpu_seconds / max(jobs, 1) * 1_000_000, 2),
            raw_per_second=None if raw is None else round(raw, 1),
            ratio=None if raw is None else round(rate / raw, 3),
            complete=wanted is None or jobs == wanted,
        )

    async def _enqueue(self, jobs: int) -> Spent:
        """Enqueue one job a call, a hundred calls awaiting at once."""
        numbers = iter(range(jobs))

        async def one_after_the_other() -> None:
            for _ in numbers:
                await self._handler.enqueue(**PAYLOAD)

        watch = Watch()
        async with anyio.create_task_group() as tasks:
            for _ in range(AWAITING):
                tasks.start_soon(one_after_the_other)
        return watch.read()

    async def _enqueue_many(self, jobs: int) -> Spent:
        payloads = (PAYLOAD for _ in range(jobs))
        watch = Watch()
        while batch := list(islice(payloads, 1_000)):
            await self._handler.enqueue_many(batch)
        return watch.read()

    async def _drain(self) -> Spent:
        """Run one worker until nothing is due."""
        worker = Worker(
            registry=self._jobs,
            broker_factory=self._jobs.broker,
            options=WorkerOptions(name="bench", concurrency=SLOTS, burst=True),
        )
        watch = Watch()
        await worker.run()
        return watch.read()

    async def _succeeded(self) -> int:
        return sum(queue.succeeded for queue in (await self._jobs.client.stats()).queues)
