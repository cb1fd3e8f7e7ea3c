"""The main function of a worker process: signals, loop, and how it ends."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Callable
from typing import Any

import anyio

from treadle.runtime.report import WorkerReport
from treadle.runtime.worker import Worker

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_worker(make: Callable[[], Worker], *, backend: str = "asyncio") -> WorkerReport:
    """Run a worker until it is drained; the first SIGTERM or SIGINT drains, the second hurries.

    uvloop is used where it is installed. Raises what `Worker.run` raises.
    """
    options: dict[str, Any] = {}
    if backend == "asyncio" and importlib.util.find_spec("uvloop") is not None:
        options["use_uvloop"] = True
    return anyio.run(_run, make, backend=backend, backend_options=options)


async def _run(make: Callable[[], Worker]) -> WorkerReport:
    worker = make()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_drain_on_signals, worker)
        try:
            await worker.run()
        finally:
            tasks.cancel_scope.cancel()
    return worker.report


async def _drain_on_signals(worker: Worker) -> None:
    with anyio.open_signal_receiver(*_SIGNALS) as signals:
        grace_ms: int | None = None
        async for _ in signals:
            worker.drain(grace_ms)
            grace_ms = 0
