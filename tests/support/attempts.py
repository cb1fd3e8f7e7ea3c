"""Running one attempt of a handler without a worker: what unit tests of the handlers' side need."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from msgspec import structs

from treadle.broker.base import Lease
from treadle.domain.job import Job, Policy
from treadle.domain.outcome import Outcome
from treadle.runtime.attempt import Attempt, Tools
from treadle.runtime.clock import SystemClock
from treadle.runtime.handlers import AnyHandler
from treadle.runtime.processes import ProcessPool
from treadle.runtime.threads import ThreadPool


class MemoryNotes:
    """Notes of attempts, kept in lists; steps as a broker keeps them: the first one stays."""

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self.lines: list[str] = []
        self.stored: dict[str, bytes] = {}

    def progress(self, lease: Lease, data: bytes) -> None:
        del lease
        self.told.append(data)

    def log(self, lease: Lease, text: str) -> None:
        del lease
        self.lines.append(text)

    async def step(self, lease: Lease, name: str, data: bytes) -> bytes:
        del lease
        return self.stored.setdefault(name, data)

    async def steps(self, lease: Lease) -> dict[str, bytes]:
        del lease
        return dict(self.stored)


class Bench:
    """Makes and runs attempts with real threads and real child processes."""

    def __init__(self, threads: ThreadPool, processes: ProcessPool) -> None:
        self.threads = threads
        self.notes = MemoryNotes()
        self.tools = Tools(
            clock=SystemClock(),
            notes=self.notes,
            threads=threads,
            processes=processes,
            worker="bench",
        )

    def attempt(
        self,
        handler: AnyHandler,
        payload: bytes = b"{}",
        *,
        number: int = 1,
        policy: Policy | None = None,
    ) -> Attempt:
        """Make an attempt of a job with this payload."""
        job = Job(id="job-1", type=handler.name, payload=payload)
        if policy is not None:
            job = structs.replace(job, policy=policy)
        lease = Lease(job.queue, job.id, 2)
        return Attempt(job=job, number=number, lease=lease, handler=handler, tools=self.tools)

    async def run(self, handler: AnyHandler, payload: bytes = b"{}", **over: Any) -> Outcome:
        """Run one attempt of a job with this payload."""
        return await handler.run(self.attempt(handler, payload, **over))


@asynccontextmanager
async def bench(
    *, threads: int = 2, processes: int = 1, patience: float = 5.0
) -> AsyncGenerator[Bench, None]:
    """Lend tools to attempts, and take them back."""
    async with ThreadPool(threads, patience=patience) as pool, ProcessPool(processes) as children:
        yield Bench(pool, children)


async def until(condition: Callable[[], bool], seconds: float = 300) -> None:
    """Wait for what another process or thread does and nobody is told of: look again and again."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await anyio.sleep(0.002)


async def cut_short(run: Callable[[], Awaitable[object]], begun: threading.Event) -> bool:
    """Cancel what runs once its thread has begun; tell whether it was cancelled."""

    async def wait() -> None:
        await run()

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await until(begun.is_set)
            scope.cancel()
    return scope.cancelled_caught
