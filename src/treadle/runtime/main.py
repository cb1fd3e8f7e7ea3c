"""The main function of a worker process: signals, loop, and how it ends."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio

from treadle.errors import TreadleError
from treadle.runtime.ending import end_process, exit_code
from treadle.runtime.report import WorkerReport
from treadle.runtime.stopping import StopSignals
from treadle.runtime.worker import Worker

_HARD_EXIT_S = 0.25


def run_worker(
    make: Callable[[], Worker],
    *,
    backend: str = "asyncio",
    code: Callable[[WorkerReport], int] = exit_code,
) -> WorkerReport:
    """Run a worker until it is drained; the first SIGTERM or SIGINT drains, the second hurries.

    `code` says with what the process ends if it has to be ended by force. uvloop is used where it
    is installed. Raises what `Worker.run` raises.
    """
    options: dict[str, Any] = {}
    if backend == "asyncio" and importlib.util.find_spec("uvloop") is not None:
        options["use_uvloop"] = True
    return anyio.run(partial(_run, make, code), backend=backend, backend_options=options)


async def _run(
    make: Callable[[], Worker], code: Callable[[WorkerReport], int] = exit_code
) -> WorkerReport:
    worker = make()
    failed: TreadleError | None = None
    async with anyio.create_task_group() as tasks:
        if worker.options.hard_exit:
            tasks.start_soon(_exit_when_closed, worker, code)
        try:
            with StopSignals(worker.drain):
                await worker.run()
        except TreadleError as error:
            failed = error  # a task group would wrap it
        tasks.cancel_scope.cancel()
    if failed is not None:
        raise failed
    return worker.report


async def _exit_when_closed(worker: Worker, code: Callable[[WorkerReport], int]) -> None:
    """End the process by force if a handler still holds it when all is handed back and settled."""
    await worker.closed.wait()
    last_resort = threading.Timer(_HARD_EXIT_S, end_process, (code(worker.report),))
    last_resort.daemon = True
    last_resort.start()
