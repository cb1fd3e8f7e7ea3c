"""The main function of a worker process: signals, loop, and how it ends."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import anyio

from treadle.errors import TreadleError
from treadle.runtime.ending import ForcedEnd
from treadle.runtime.report import WorkerReport
from treadle.runtime.stopping import EarlySignals, StopSignals
from treadle.runtime.worker import Worker

logger = logging.getLogger("treadle.worker")

_LOOK_S: Final = 1.0


def run_worker(
    make: Callable[[], Worker],
    *,
    backend: str = "asyncio",
    early: EarlySignals | None = None,
) -> WorkerReport:
    """Run a worker until it is drained; the first SIGTERM or SIGINT drains, the second hurries.

    `early` holds those that came before. uvloop is used where it is installed. Raises what
    `Worker.run` raises.
    """
    options: dict[str, Any] = {}
    if backend == "asyncio" and importlib.util.find_spec("uvloop") is not None:
        options["use_uvloop"] = True
    force = ForcedEnd()
    try:
        return anyio.run(
            partial(_run, make, force, early), backend=backend, backend_options=options
        )
    finally:
        force.loop_ended()


async def _run(
    make: Callable[[], Worker], force: ForcedEnd, early: EarlySignals | None = None
) -> WorkerReport:
    worker = make()
    failed: TreadleError | None = None
    async with anyio.create_task_group() as tasks:
        ends_with = worker.options.ends_with
        if ends_with is not None:
            tasks.start_soon(_arm_when_closed, worker, ends_with, force)
        if worker.options.parent:
            tasks.start_soon(_drain_when_orphaned, worker)
        try:
            with StopSignals(worker.drain, early):
                await worker.run()
        except TreadleError as error:
            failed = error  # a task group would wrap it
        tasks.cancel_scope.cancel()
    if failed is not None:
        raise failed
    return worker.report


async def _drain_when_orphaned(worker: Worker) -> None:
    """Drain when the supervisor is gone: nobody would restart this process, or stop it."""
    while os.getppid() == worker.options.parent:  # noqa: ASYNC110 - nobody tells
        await anyio.sleep(_LOOK_S)
    logger.error("supervisor_gone", extra={"worker": worker.name})
    worker.drain()


async def _arm_when_closed(
    worker: Worker, ends_with: Callable[[WorkerReport], int], force: ForcedEnd
) -> None:
    """Let the process be ended by force if it still runs when all is handed back and settled."""
    await worker.closed.wait()
    force.closed(ends_with(worker.report), worker.grace_left)
