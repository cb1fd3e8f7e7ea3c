"""Plain calls of handlers, without a queue: what a worker would provide is provided here.

This is what `await send_email("ada@example.com")` does, mostly in unit tests. What the caller
gives is taken, `db=FakeDb()` too; the rest is provided as in an attempt. Progress and log lines
go nowhere, a step is just called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.broker.base import Lease
from treadle.domain.job import Job
from treadle.errors import ConfigurationError
from treadle.runtime.attempt import Attempt, Tools
from treadle.runtime.clock import SystemClock
from treadle.runtime.context import Context
from treadle.runtime.execution import Execution
from treadle.runtime.ids import new_id
from treadle.runtime.processes import ProcessPool
from treadle.runtime.threads import ThreadPool

if TYPE_CHECKING:
    from treadle.runtime.handlers import AnyHandler

_THREADS = 4


class _NoNotes:
    """Notes of a call that is no attempt of a stored job."""

    def progress(self, lease: Lease, data: bytes) -> None:
        """Drop it."""

    def log(self, lease: Lease, text: str) -> None:
        """Drop it."""

    async def step(self, lease: Lease, name: str, data: bytes) -> bytes:  # noqa: ARG002
        """Return what would have been stored."""
        return data

    async def steps(self, lease: Lease) -> dict[str, bytes]:  # noqa: ARG002
        """Return nothing: there was no earlier attempt."""
        return {}


def detached_attempt(handler: AnyHandler) -> Attempt:
    """Return the first attempt of a job that no broker knows."""
    job = Job(id=new_id(), type=handler.name)
    tools = Tools(
        clock=SystemClock(),
        notes=_NoNotes(),
        threads=ThreadPool(_THREADS),
        processes=ProcessPool(1),
        worker="",
    )
    lease = Lease(job.queue, job.id, 0)
    return Attempt(job=job, number=1, lease=lease, handler=handler, tools=tools)


async def call_async(
    handler: AnyHandler, execution: Execution, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call an async handler with what the caller gives and what else it wants."""
    attempt = detached_attempt(handler)
    given = execution.given(args, kwargs)
    async with attempt.tools.threads:
        return await execution.without(given).call_async(Context(attempt), given, attempt)


def call_sync(
    handler: AnyHandler, execution: Execution, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call a sync handler, in this thread, with what the caller gives and what else it wants.

    Raises:
        ConfigurationError: if that takes an event loop.
    """
    given = execution.given(args, kwargs)
    rest = execution.without(given)
    if not rest.plan.is_sync:
        raise ConfigurationError(
            f"handler {handler.name!r} is sync, and what it depends on is async: a plain call "
            "cannot wait for that. Pass it as an argument"
        )
    return rest.call_sync(Context(detached_attempt(handler)), given)
