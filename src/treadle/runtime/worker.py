"""One worker: a session, a crew of slots, and the duties around them.

    claim -> attempt -> settle

What runs inside, all of it in one task group and stopped together:

- the pump and its waiting lane (`pump`): all traffic of settling and claiming;
- a fixed crew of consumers and the watch over their time limits (`slots`);
- the heartbeat, in a thread with a broker of its own (`beat`);
- sweeper and janitor: work that any worker may do for all;
- the drain, asleep until somebody asks for it.

A worker stops in one way: `drain`. If it dies instead, at any instruction, its leases end and others decide.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

import anyio

from treadle.broker.base import Broker, Clock
from treadle.broker.loop import LoopHandle
from treadle.domain.selection import names
from treadle.errors import BrokerError, SessionEnded
from treadle.runtime.about import about
from treadle.runtime.attempt import Tools
from treadle.runtime.backoff import Backoff
from treadle.runtime.client.lane import refuse_weaker
from treadle.runtime.clock import BrokerClock, SystemClock
from treadle.runtime.drain import DrainOrder
from treadle.runtime.names import HeldName, hold_name
from treadle.runtime.notebook import Notebook
from treadle.runtime.options import WorkerOptions
from treadle.runtime.premises import Premises
from treadle.runtime.processes import ProcessPool
from treadle.runtime.registry import Registry
from treadle.runtime.report import WorkerReport
from treadle.runtime.shift import Shift
from treadle.runtime.sweeper import settle_abandoned
from treadle.runtime.threads import ThreadPool

logger = logging.getLogger("treadle.worker")


class Worker:
    """Runs the handlers of a registry on one broker. Make one, `await run()`, once."""

    def __init__(
        self,
        *,
        registry: Registry,
        broker_factory: Callable[[], Broker],
        options: WorkerOptions,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.options = options
        self.report = WorkerReport()
        self.session = ""
        self.name = ""
        self._registry = registry
        self._broker_factory = broker_factory
        self._clock: Clock = SystemClock() if clock is None else clock
        self._rng = random.Random() if rng is None else rng
        self._loop: LoopHandle | None = None
        self._order = DrainOrder(options.grace_ms)
        self.started = anyio.Event()
        """Set when the session is open and claims begin."""

    def drain(self, grace_ms: int | None = None) -> None:
        """Stop gracefully; callable from any thread and from signal handlers, more than once.

        A second call can only shorten the grace period.
        """
        self._order.announce(self._clock.monotonic(), grace_ms)
        if self._loop is not None:
            self._loop.post(lambda: self._order.ask(grace_ms))
        else:
            self._order.ask(grace_ms)

    async def run(self) -> WorkerReport:
        """Work until drained; return what was done.

        Raises:
            BrokerUnavailable: if the broker cannot be reached at the start. Later outages are waited out.
            BrokerRefused: if it promises less than the application's setting `durability` asks for.
            SessionEnded: if another process opened a session under the same name.
        """
        self._loop = LoopHandle()
        broker = self._broker_factory()
        held: HeldName | None = None
        async with broker:
            if self._registry.durability is not None:
                await refuse_weaker(broker, self._registry.durability)
            try:
                if not self.options.name:
                    held = hold_name(broker.url.raw)
                self.name = self.options.name or (held.name if held else "")
                await self._sessions(broker)
            finally:
                if held is not None:
                    held.release()
        return self.report

    async def _sessions(self, broker: Broker) -> None:
        """Work in one session after the other: one that a long outage ended is followed by a new one."""
        ended = await self._work(broker)
        backoff = Backoff(self._rng, "open")
        while ended is not None:
            if ended.taken:
                raise ended
            if self._order.asked.is_set():
                return  # there is nothing left to drain
            logger.warning("session_reopens", extra={"worker": self.name})
            try:
                ended = await self._work(broker)
                backoff.worked()
            except BrokerError as error:
                await backoff.failed(error)

    async def _work(self, broker: Broker) -> SessionEnded | None:
        """Work in one session; return why it ended, if the shift did not end it."""
        broker_clock = BrokerClock(self._clock)
        said = about(
            self._registry.handlers,
            concurrency=self.options.concurrency,
            queues=names(self.options.selection),
        )
        opened = await broker.open(self.name, self.options.lease_ms, said)
        broker_clock.sync(opened.now)
        self.session = opened.session
        if opened.inherited:
            logger.warning("took_over", extra={"jobs": len(opened.inherited), "worker": self.name})
            await settle_abandoned(
                broker, opened.inherited, now=opened.now, rng=self._rng, report=self.report
            )
        notebook = Notebook(broker_clock, broker, self.session)
        threads = ThreadPool(self.options.threads or self.options.concurrency)
        processes = ProcessPool(self.options.concurrency, app=self.options.app)
        async with threads, processes:
            tools = Tools(
                clock=self._clock,
                notes=notebook,
                threads=threads,
                processes=processes,
                worker=self.name,
            )
            shift = Shift(
                Premises(
                    name=self.name,
                    session=self.session,
                    broker=broker,
                    registry=self._registry,
                    options=self.options,
                    report=self.report,
                    clock=self._clock,
                    broker_clock=broker_clock,
                    notebook=notebook,
                    tools=tools,
                    rng=self._rng,
                    order=self._order,
                    opened=self.started.set,
                )
            )
            await shift.run()
        return shift.ended

    @property
    def closed(self) -> anyio.Event:
        """Return the event that is set when a drain has handed back and settled everything."""
        return self._order.closed

    def grace_left(self) -> float | None:
        """Return how many seconds of the grace period are left, below 0 after it; None without a drain."""
        ends = self._order.ends
        return None if ends is None else ends - self._clock.monotonic()
