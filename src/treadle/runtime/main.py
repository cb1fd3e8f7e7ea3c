"""The main function of a worker process: signals, loop, and how it ends."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import anyio

from treadle.errors import TreadleError
from treadle.runtime.report import WorkerReport
from treadle.runtime.worker import Worker

_HARD_EXIT_S = 0.5
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
    failed: TreadleError | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_drain_on_signals, worker)
        if worker.options.hard_exit:
            tasks.start_soon(_exit_when_closed, worker)
        try:
            await worker.run()
        except TreadleError as error:
            failed = error  # a task group would wrap it
        tasks.cancel_scope.cancel()
    if failed is not None:
        raise failed
    return worker.report


async def _exit_when_closed(worker: Worker) -> None:
    """End the process by force if a handler still holds it when all is handed back and settled."""
    await worker.closed.wait()
    sys.stdout.flush()
    sys.stderr.flush()
    last_resort = threading.Timer(_HARD_EXIT_S, os._exit, (0,))
    last_resort.daemon = True
    last_resort.start()


async def _drain_on_signals(worker: Worker) -> None:
    with anyio.open_signal_receiver(*_SIGNALS) as signals:
        grace_ms: int | None = None
        async for _ in signals:
            worker.drain(grace_ms)
            grace_ms = 0
