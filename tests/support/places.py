"""A place to run the real worker on any broker: an application, a store, and a clock that can be moved.

Time passes as it does outside; a test that would have to wait moves the clock instead.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.contract.adapters import Adapter, adapters
from treadle import Jobs
from treadle.broker.base import Applied, Broker, Clock
from treadle.conformance.clock import MovableClock
from treadle.domain.job import Job, Record, Ref
from treadle.domain.state import FINAL, State
from treadle.runtime.options import WorkerOptions
from treadle.runtime.worker import Worker
from treadle.settings import Settings


class Place:
    """Handlers register with `jobs`; workers of `worker()` and `burst()` run what was enqueued."""

    def __init__(
        self, adapter: Adapter, folder: Path, *, options: str = "", settings: Settings | None = None
    ) -> None:
        self.adapter = adapter
        self.folder = folder
        self.clock = MovableClock()
        self.clock.run()
        self.url = (
            "memory://" if adapter.name == "memory" else f"sqlite:///{folder}/jobs.db{options}"
        )
        self.jobs = Jobs(self.url, settings=settings or Settings(), clock=self.clock)
        self.broker: Broker = self.jobs.broker()
        self._ids = 0

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[Place]:
        """Connect for as long as the block lasts."""
        async with self.jobs, self.broker:
            yield self

    async def store(self, type: str, payload: bytes = b"{}", **over: Any) -> str:
        """Put one job into the store, past all checks of a producer; return its id."""
        self._ids += 1
        values: dict[str, Any] = {"id": f"job-{self._ids}", **over}
        job = Job(type=type, payload=payload, **values)
        answer = await self.broker.enqueue([job])
        assert isinstance(answer.results[0], Applied), answer
        return job.id

    async def spoil(self, id: str, body: bytes) -> None:
        """Overwrite the stored body of a waiting job."""
        await self.adapter.spoil(self.broker, Ref("default", id), body)

    def make_worker(self, *, clock: Clock | None = None, **over: Any) -> Worker:
        """Make a worker of the application."""
        values: dict[str, Any] = {"name": "w1", "beat_ms": 500, **over}
        return Worker(
            registry=self.jobs,
            broker_factory=self.jobs.broker,
            options=WorkerOptions(**values),
            clock=clock or self.clock,
            rng=random.Random(7),
        )

    @asynccontextmanager
    async def worker(self, *, clock: Clock | None = None, **over: Any) -> AsyncGenerator[Worker]:
        """Run a worker for as long as the block lasts, then drain it."""
        worker = self.make_worker(clock=clock, **over)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.run)
            await worker.started.wait()
            yield worker
            worker.drain()

    async def burst(self, **over: Any) -> Worker:
        """Run a worker until nothing is due any more; it must end."""
        values: dict[str, Any] = {"burst": True, "beat_in_thread": False, **over}
        worker = self.make_worker(**values)
        with anyio.fail_after(300):
            await worker.run()
        return worker

    async def get(self, id: str, queue: str = "default") -> Record:
        """Return a job's record, which must be there."""
        (record,) = await self.broker.get([Ref(queue, id)])
        assert record is not None, f"the accepted job {id} is gone"
        return record

    async def states(self, ids: Sequence[str]) -> list[State]:
        """Return the stored states of jobs."""
        return [(await self.get(id)).head.state for id in ids]

    async def until(self, id: str, *states: State, timeout: float = 400) -> Record:
        """Wait, by the event log, until a job is in one of the states."""
        cursor = (await self.broker.events(None)).cursor
        with anyio.fail_after(timeout):
            while True:
                record = await self.get(id)
                if record.head.state in states:
                    return record
                cursor = (await self.broker.events(cursor, wait_ms=500)).cursor

    async def until_final(self, *ids: str, timeout: float = 400) -> list[Record]:
        """Wait until the jobs are final."""
        return [await self.until(id, *FINAL, timeout=timeout) for id in ids]


ADAPTERS = adapters()


@pytest.fixture(scope="session", params=ADAPTERS, ids=[adapter.name for adapter in ADAPTERS])
def adapter(request: pytest.FixtureRequest) -> Adapter:
    """Choose a broker."""
    chosen: Adapter = request.param
    return chosen


@pytest.fixture
def anyio_backend() -> str:
    """Run on one event loop; that both work is shown by the tests of the runtime."""
    return "asyncio"


@pytest.fixture
async def place(adapter: Adapter, tmp_path: Path) -> AsyncIterator[Place]:
    """Give an application on a fresh store."""
    async with Place(adapter, tmp_path).opened() as place:
        yield place


__all__ = ["Place", "adapter", "anyio_backend", "place"]
