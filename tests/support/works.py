"""A place to run workers in tests: a registry, a memory broker and its clock."""

from __future__ import annotations

import random
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from treadle.broker.base import Applied, Broker
from treadle.broker.memory import MemoryBroker
from treadle.broker.url import parse
from treadle.domain.job import Job, Record, Ref
from treadle.domain.selection import Ordered
from treadle.domain.state import FINAL, State
from treadle.runtime.options import WorkerOptions
from treadle.runtime.registry import Registry
from treadle.runtime.worker import Worker
from treadle.testing.virtual import LoopClock


class Works:
    """Handlers register with `registry`; jobs go in by `enqueue`; `worker()` runs them."""

    nothing = Ordered(("none",))
    """A selection for a worker that only sweeps."""

    def __init__(self, clock: LoopClock) -> None:
        self.clock = clock
        self.registry = Registry()
        self.broker: Broker = MemoryBroker(parse("memory://"), clock)
        self._ids = 0

    async def enqueue(self, type: str, payload: bytes = b"{}", **over: Any) -> str:
        """Store one job and return its id."""
        self._ids += 1
        given: dict[str, Any] = {"id": f"job-{self._ids}", "type": type, "payload": payload, **over}
        job = Job(**given)
        answer = await self.broker.enqueue([job])
        assert isinstance(answer.results[0], Applied), answer
        return job.id

    def make_worker(self, **over: Any) -> Worker:
        """Make a worker whose leases are renewed on the virtual clock."""
        given: dict[str, Any] = {"name": "w1", "beat_in_thread": False, **over}
        options = WorkerOptions(**given)
        return Worker(
            registry=self.registry,
            broker_factory=self.broker.another,
            options=options,
            clock=self.clock,
            rng=random.Random(7),
        )

    @asynccontextmanager
    async def worker(self, **over: Any) -> AsyncGenerator[Worker]:
        """Run a worker for as long as the block lasts, then drain it."""
        worker = self.make_worker(**over)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.run)
            await worker.started.wait()
            yield worker
            worker.drain()

    async def burst(self, **over: Any) -> Worker:
        """Run a worker until nothing is due any more."""
        worker = self.make_worker(burst=True, **over)
        await worker.run()
        return worker

    async def get(self, job_id: str, queue: str = "default") -> Record:
        """Return a job's record."""
        record = (await self.broker.get([Ref(queue, job_id)]))[0]
        assert record is not None
        return record

    async def state(self, job_id: str, queue: str = "default") -> State:
        """Return a job's stored state."""
        return (await self.get(job_id, queue)).head.state

    async def until_final(self, *ids: str, queue: str = "default") -> list[Record]:
        """Wait until the jobs are final; virtual time makes that quick."""
        cursor = (await self.broker.events(None)).cursor
        with anyio.fail_after(3 * 24 * 3600):
            while True:
                records = [await self.get(job_id, queue) for job_id in ids]
                if all(record.head.state in FINAL for record in records):
                    return records
                cursor = (await self.broker.events(cursor, wait_ms=60_000)).cursor

    async def until_waiting(self, job_id: str, queue: str = "default") -> Record:
        """Wait until a job waits to be claimed."""
        return await self._until(job_id, queue, State.WAITING)

    async def until_running(self, job_id: str, queue: str = "default") -> Record:
        """Wait until a job runs."""
        return await self._until(job_id, queue, State.RUNNING)

    async def _until(self, job_id: str, queue: str, state: State) -> Record:
        cursor = (await self.broker.events(None)).cursor
        with anyio.fail_after(24 * 3600):
            while True:
                record = await self.get(job_id, queue)
                if record.head.state is state:
                    return record
                cursor = (await self.broker.events(cursor, wait_ms=60_000)).cursor


async def until_set(event: threading.Event) -> None:
    """Wait until a thread has set it; no virtual time passes meanwhile."""
    for _ in range(30_000):
        if event.wait(0.001):
            return
        await anyio.lowlevel.checkpoint()
    raise TimeoutError("no thread has set it")
