"""`jobs_test`: an application's jobs in memory, on a clock that the test moves.

Nothing runs by itself: `drain` runs what is due, `advance` moves the clock from one due instant to the
next and drains at each. What runs is the real worker, on the event loop of the test (of asyncio or
trio, whoever started it); tests without a loop use the `_sync` twins.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Generic, ParamSpec, Self, overload

import anyio
import msgspec
from anyio.lowlevel import checkpoint
from msgspec import Struct

from treadle import Jobs
from treadle.broker.base import Applied, Claimed, Clock, Filter, Settled, Turned
from treadle.broker.base import Enqueued as Answer
from treadle.broker.memory import MemoryBroker
from treadle.broker.memory.store import Store
from treadle.broker.url import BrokerUrl, parse
from treadle.domain.job import NEVER, After, At, Job, Priority
from treadle.domain.outcome import Outcome, Write
from treadle.domain.selection import Ordered
from treadle.domain.state import Shown
from treadle.errors import ConfigurationError, PayloadError
from treadle.runtime.attempt import Attempt, Next
from treadle.runtime.clock import BrokerClock
from treadle.runtime.failures import failure
from treadle.runtime.handlers import AnyHandler, Handler
from treadle.runtime.options import WorkerOptions
from treadle.runtime.portal import PORTAL
from treadle.runtime.report import WorkerReport
from treadle.runtime.scheduler import Scheduler
from treadle.runtime.sweeper import settle_abandoned
from treadle.runtime.worker import Worker
from treadle.testing.standins import make_client, stand_in
from treadle.testing.virtual import EPOCH_MS

P = ParamSpec("P")

_NAME = "jobs_test"
_BATCH = 1_000


class Enqueued(Struct, Generic[P], frozen=True, kw_only=True):
    """One job that was enqueued: its arguments by name, and its options."""

    id: str
    type: str
    arguments: dict[str, Any]
    """What was given, as the handler declares it: a `datetime` is one again. Defaults are left out."""
    queue: str
    priority: Priority
    delay: timedelta | None = None
    run_at: datetime | None = None
    unique: str = ""
    key: str = ""
    meta: dict[str, str] = {}
    handler: AnyHandler | None = None
    """The handler that would run it; None if the application has none of that name."""
    job: Job
    """Everything else about it."""

    def matches(self, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Tell whether `handler.enqueue(*args, **kwargs)` would have enqueued the same.

        Checkers know the parameters of the handler that was asked about. What is left out counts
        as its default.

        Raises:
            ConfigurationError: if nobody knows the handler, and so its parameters.
            PayloadError: if the arguments do not fit.
        """
        if self.handler is None:
            raise ConfigurationError(
                f"the application has no handler {self.type!r}: compare `arguments`"
            )
        read = self.handler.arguments.by_name
        return read(self.handler.job(*args, **kwargs).payload) == read(self.job.payload)


class HandClock:
    """Broker time that stands still until it is moved."""

    def __init__(self) -> None:
        self.moved_ms = 0

    def time_ms(self) -> int:
        """Return ms since the Unix epoch."""
        return EPOCH_MS + self.moved_ms

    def monotonic(self) -> float:
        """Return real seconds, moved by as much: time limits of handlers are real."""
        try:
            return anyio.current_time() + self.moved_ms / 1000
        except RuntimeError:
            return time.monotonic() + self.moved_ms / 1000


class LedgerBroker(MemoryBroker):
    """The memory broker, with a list of what was enqueued."""

    def __init__(
        self, url: BrokerUrl, clock: Clock, store: Store | None, ledger: list[Job]
    ) -> None:
        super().__init__(url, clock, store)
        self._ledger = ledger

    def another(self) -> LedgerBroker:
        """Make one more on the same store."""
        return LedgerBroker(self.url, self._clock, self._store, self._ledger)

    def doomed(self) -> DoomedBroker:
        """Make one for a worker that will die before it can record anything."""
        return DoomedBroker(self.url, self._clock, self._store, self._ledger)

    async def enqueue(self, jobs: Sequence[Job]) -> Answer:
        """Store jobs, and write down those that were stored."""
        answer = await super().enqueue(jobs)
        stored = zip(jobs, answer.results, strict=True)
        self._ledger += [job for job, result in stored if isinstance(result, Applied)]
        return answer


class DoomedBroker(LedgerBroker):
    """Gives out what is due, once; what its worker then writes never arrives."""

    claimed: int | None = None
    """How many jobs it gave out; None before it was asked."""

    def another(self) -> DoomedBroker:
        """Be the only one: its worker holds no other."""
        return self

    async def claim(
        self, session: str, queues: Sequence[str], limit: int, wait_ms: int = 0
    ) -> Claimed:
        """Give out what is due; wait for ever afterwards."""
        del wait_ms
        if self.claimed is not None:
            await anyio.sleep_forever()
        claimed = await super().claim(session, queues, limit)
        self.claimed = len(claimed.records)
        return claimed

    async def turn(
        self, session: str, writes: Sequence[Write], queues: Sequence[str], limit: int
    ) -> Turned:
        """Never answer."""
        del session, writes, queues, limit
        await anyio.sleep_forever()
        raise AssertionError

    async def apply(self, writes: Sequence[Write]) -> Settled:
        """Answer only to what is decided before the first claim: about what was left by others."""
        if self.claimed is not None:
            await anyio.sleep_forever()
        return await super().apply(writes)


class JobsTest:
    """Runs the jobs of one application under a test's control; `use` says which application."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self._jobs: Jobs | None = None
        self._binding = ExitStack()
        self._ledger: list[Job] = []
        self._root = LedgerBroker(parse("memory://"), self.clock, None, self._ledger)
        self._errors: defaultdict[str, deque[BaseException | type[BaseException]]] = defaultdict(
            deque
        )
        self._rng = Random(0)
        self._ended = 0
        self._all_ended = anyio.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._binding.close()

    def use(self, jobs: Jobs) -> Self:
        """Let `jobs` enqueue to this test's store, until the test ends; return this object."""
        self.__exit__()
        client = make_client(jobs, self._root.another, self.clock)
        self._binding.enter_context(jobs.using(broker=self._root, client=client, clock=self.clock))
        self._jobs = jobs
        return self

    @property
    def now(self) -> datetime:
        """Return the broker's time."""
        return datetime.fromtimestamp(self.clock.time_ms() / 1000, UTC)

    def fail_next(
        self,
        handler: AnyHandler | str,
        error: BaseException | type[BaseException] = RuntimeError,
        times: int = 1,
    ) -> None:
        """Let the next attempts of a handler raise `error` instead of running it."""
        name = handler if isinstance(handler, str) else handler.name
        self._application().find(name)
        self._errors[name].extend([error] * times)

    @overload
    def enqueued(self, handler: Handler[P, Any]) -> list[Enqueued[P]]: ...
    @overload
    def enqueued(self, handler: str | None = None) -> list[Enqueued[...]]: ...
    def enqueued(self, handler: Any = None) -> list[Any]:
        """Return what was enqueued in this test, in order: all of it, or of one handler."""
        known: dict[str, AnyHandler] = {} if self._jobs is None else dict(self._jobs.handlers)
        if isinstance(handler, Handler):
            known[handler.name] = handler
        name = handler.name if isinstance(handler, Handler) else handler
        jobs = (job for job in self._ledger if name in (None, job.type))
        return [_shown(job, known.get(job.type)) for job in jobs]

    async def drain(self) -> WorkerReport:
        """Run what is due, and what becomes due by it, until nothing is; return what was done."""
        total = WorkerReport()
        while True:
            queues = self._queues()
            worker = self._worker(self._root.another, burst=True)
            _add(total, await worker.run())
            if not await self._sweep(total) and queues == self._queues():
                return total

    async def advance(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> WorkerReport:
        """Move the clock, and run at its own instant whatever becomes due on the way, ticks included.

        Schedules count from the first call on: a tick at that very instant is not fired.
        """
        span = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        until = self.clock.moved_ms + round(span / timedelta(milliseconds=1))
        scheduler, total = self._scheduler(), WorkerReport()
        while True:
            await scheduler.fire()
            _add(total, await self.drain())
            if self.clock.moved_ms >= until:
                return total
            # Asked again after the jobs ran: they may have changed the timetable.
            tick = self.clock.moved_ms + round(await scheduler.fire() * 1000)
            due = await self._next_due()
            self.clock.moved_ms = min(until, tick, due - EPOCH_MS if due else until)

    async def crash_worker(self) -> int:
        """Let a worker run what is due and die before it can record anything; return how many jobs.

        Their handlers have run to the end, and nobody knows: a worker that is started again runs
        them once more, as `drain` does. The third crash of a job puts it among the dead letters.
        """
        self._ended, self._all_ended = 0, anyio.Event()
        broker = self._root.doomed()
        worker = self._worker(lambda: broker, burst=False)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.run)
            while broker.claimed is None:
                await checkpoint()
            while self._ended < broker.claimed:
                self._all_ended = anyio.Event()
                await self._all_ended.wait()
            tasks.cancel_scope.cancel()
        return broker.claimed or 0

    def drain_sync(self) -> WorkerReport:
        """Do what `drain` does, from a test without an event loop."""
        return PORTAL.call(self.drain)

    def advance_sync(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> WorkerReport:
        """Do what `advance` does, from a test without an event loop."""

        async def advance() -> WorkerReport:
            return await self.advance(days=days, hours=hours, minutes=minutes, seconds=seconds)

        return PORTAL.call(advance)

    def crash_worker_sync(self) -> int:
        """Do what `crash_worker` does, from a test without an event loop."""
        return PORTAL.call(self.crash_worker)

    def _application(self) -> Jobs:
        if self._jobs is None:
            raise ConfigurationError("jobs_test does not know the application: jobs_test.use(jobs)")
        return self._jobs

    def _worker(self, broker: Any, *, burst: bool) -> Worker:
        jobs = self._application()
        options = WorkerOptions(
            selection=Ordered(self._queues()),
            name=_NAME,
            concurrency=10,
            beat_in_thread=False,
            burst=burst,
        )
        return Worker(
            registry=stand_in(jobs, self._fail),
            broker_factory=broker,
            options=options,
            clock=self.clock,
            rng=self._rng,
        )

    def _scheduler(self) -> Scheduler:
        return Scheduler(
            self._root,
            declared=self._application().timetable,
            clock=BrokerClock(self.clock),
            rng=self._rng,
            read_ms=NEVER,
        )

    def _queues(self) -> tuple[str, ...]:
        """Return all queues, those of handlers first."""
        handlers = self._application().handlers.values()
        return tuple(
            sorted({each.queue for each in handlers} | {job.queue for job in self._ledger})
        )

    async def _fail(self, attempt: Attempt, call_next: Next) -> Outcome:
        """Run the handler, unless its next attempt shall fail."""
        errors = self._errors.get(attempt.job.type)
        try:
            if not errors:
                return await call_next(attempt)
            error = errors.popleft()
            raised = error("a test wanted this") if isinstance(error, type) else error
            return failure(raised)
        finally:
            self._ended += 1
            self._all_ended.set()

    async def _sweep(self, report: WorkerReport) -> bool:
        """Decide about what a crashed worker left, and blocked jobs; tell whether any moved."""
        overdue = await self._root.overdue(_BATCH)
        if not overdue.records:
            return False
        return await settle_abandoned(
            self._root, overdue.records, now=overdue.now, rng=self._rng, report=report
        )

    async def _next_due(self) -> int | None:
        """Return the next instant at which something is due, if there is one."""
        now, found = self.clock.time_ms(), list[int]()
        for state in (Shown.SCHEDULED, Shown.RETRYING, Shown.BLOCKED):
            cursor = None
            while True:
                page = await self._root.find(Filter(state=state), cursor=cursor, limit=_BATCH)
                found += [each.head.due for each in page.records if each.head.due > now]
                cursor = page.cursor
                if cursor is None:
                    break
        found += [
            each.expires
            for each in await self._root.sessions()
            if each.expires > now and each.running
        ]
        return min(found, default=None)


def _add(total: WorkerReport, more: WorkerReport) -> None:
    for name in (
        "claimed",
        "succeeded",
        "retried",
        "dead",
        "cancelled",
        "snoozed",
        "parked",
        "lost",
    ):
        setattr(total, name, getattr(total, name) + getattr(more, name))


def _shown(job: Job, handler: AnyHandler | None) -> Enqueued[...]:
    due = job.due
    return Enqueued(
        id=job.id,
        type=job.type,
        arguments=_arguments(job, handler),
        queue=job.queue,
        priority=job.priority,
        delay=timedelta(milliseconds=due.ms) if isinstance(due, After) and due.ms else None,
        run_at=datetime.fromtimestamp(due.ms / 1000, UTC) if isinstance(due, At) else None,
        unique="" if job.unique is None else job.unique.key,
        key=job.key,
        meta=dict(job.meta),
        handler=handler,
        job=job,
    )


def _arguments(job: Job, handler: AnyHandler | None) -> dict[str, Any]:
    """Return what a payload holds, of the declared types if it fits its handler."""
    given = msgspec.json.decode(job.payload, type=dict[str, Any])
    if handler is None or handler.arguments.signature.whole:
        return given
    try:
        typed = handler.arguments.by_name(job.payload)
    except (msgspec.ValidationError, PayloadError):
        return given
    return {name: typed.get(name, value) for name, value in given.items()}
