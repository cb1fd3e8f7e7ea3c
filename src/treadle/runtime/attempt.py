"""One delivery of a job to its handler, as middleware and handlers see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from treadle.broker.base import Clock, Lease
from treadle.domain.job import Job
from treadle.domain.outcome import Outcome

if TYPE_CHECKING:
    from treadle.runtime.handlers import AnyHandler
    from treadle.runtime.processes import ProcessPool
    from treadle.runtime.threads import ThreadPool


class NoteSink(Protocol):
    """Where an attempt's notes go. All of it may be called from any thread, except `step`."""

    def progress(self, lease: Lease, data: bytes) -> None:
        """Keep the last progress; it reaches the broker at most once a second."""
        ...

    def log(self, lease: Lease, text: str) -> None:
        """Add a log line; it reaches the broker with the next heartbeat or the outcome."""
        ...

    async def step(self, lease: Lease, name: str, data: bytes) -> bytes:
        """Store a step's result durably; return what was stored first under that name."""
        ...

    async def steps(self, lease: Lease) -> dict[str, bytes]:
        """Return the steps that were stored by this and earlier attempts."""
        ...


class Tools:
    """What a worker lends to the attempts that it runs; one object per worker."""

    __slots__ = ("clock", "notes", "processes", "threads", "worker")

    def __init__(
        self,
        *,
        clock: Clock,
        notes: NoteSink,
        threads: ThreadPool,
        processes: ProcessPool,
        worker: str,
    ) -> None:
        self.clock = clock
        self.notes = notes
        self.threads = threads
        self.processes = processes
        self.worker = worker


class Attempt(Struct, kw_only=True, eq=False, gc=False):
    """One delivery of a job: middleware gets it, the handler's Context is made from it.

    `number` is 1 for the first attempt. `cancelled` is set when the attempt shall stop: job
    cancelled, time limit reached, lease lost, or the worker drains without more grace; sync handlers
    look at it, async ones are cancelled.

    `stopped` is what it comes to if it ends because of that.

    `late` is what a sync handler came to although it was told to stop: the real outcome, unless it
    ended early because it saw the stop. `noticed` says that it saw it.

    Two attempts are never equal. A struct, since one is made for every job: a class with an
    `__init__` costs seven times as much.
    """

    job: Job
    number: int
    lease: Lease
    handler: AnyHandler
    tools: Tools
    cancelled: bool = False
    stopped: Outcome | None = None
    late: Outcome | None = None
    noticed: bool = False

    @property
    def max_attempts(self) -> int:
        """Return how many attempts the job may have."""
        return self.job.policy.max_attempts

    def stop(self) -> None:
        """Ask the attempt to stop; may be called from any thread."""
        self.cancelled = True


Next = Callable[[Attempt], Awaitable[Outcome]]
"""The rest of the chain: the next middleware, or the handler."""

Middleware = Callable[[Attempt, Next], Awaitable[Outcome]]
"""What runs around every attempt: `async (attempt, call_next) -> outcome`."""
