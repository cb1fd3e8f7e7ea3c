"""What a worker does while its session is open.

All duties live in one task group. How it ends is the business of `closing`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable

import anyio

from treadle.broker.base import Pulse
from treadle.domain.admission import admit
from treadle.domain.job import Record
from treadle.domain.limits import Budget
from treadle.domain.outcome import Happening, Outcome
from treadle.errors import SessionEnded
from treadle.runtime.attempt import Attempt, Next
from treadle.runtime.beat import Beat
from treadle.runtime.chain import compose
from treadle.runtime.closing import CLOSE_S, Closing
from treadle.runtime.crew import Crew
from treadle.runtime.handlers import AnyHandler
from treadle.runtime.janitor import Janitor
from treadle.runtime.last_resort import LastResort
from treadle.runtime.leases import Leases
from treadle.runtime.leftovers import Leftovers
from treadle.runtime.options import MOST_SOLO
from treadle.runtime.premises import Premises
from treadle.runtime.pump import Pump
from treadle.runtime.scheduler import Scheduler
from treadle.runtime.settle import Settler
from treadle.runtime.solo import Alone
from treadle.runtime.sweeper import Sweeper

logger = logging.getLogger("treadle.worker")

_ALIVE_S = 0.5
_NOTES_S = 0.5
_MOST_UNKNOWN = 100
"""So many types without a handler are reported, each once: what a type is called is up to producers."""


def _innermost(attempt: Attempt) -> Awaitable[Outcome]:
    return attempt.handler.run(attempt)


class Shift:
    """What a worker does while its session is open."""

    def __init__(self, given: Premises) -> None:
        self.ended: SessionEnded | None = None
        """Why the session ended, if it was not this shift that closed it."""
        self._given = given
        broker, options, rng = given.broker, given.options, given.rng
        self._leases = Leases()
        self._settler = Settler(
            rng=rng,
            budget=Budget(broker.max_record),
            report=given.report,
            forget=self._leases.forget,
            meter=options.meter,
        )
        alone = Alone(options.app, lambda: (self._crew, self._solo))
        self._solo = self._make_crew(MOST_SOLO, alone.run, None)
        self._crew = self._make_crew(options.concurrency, _innermost, self._solo)
        self._crews = (self._crew, self._solo)
        if options.meter is not None:
            options.meter.watch(given.report, self._crews)
        self._pump = Pump(
            broker=broker,
            session=given.session,
            crew=self._crew,
            settler=self._settler,
            leases=self._leases,
            notebook=given.notebook,
            clock=given.broker_clock,
            options=options,
            report=given.report,
            rng=rng,
            heard=self._heard,
            busy=self._occupied,
            look=self._look,
        )
        self._closing = Closing(
            given,
            crew=self._crew,
            solo=self._solo,
            pump=self._pump,
            settler=self._settler,
            leases=self._leases,
            done=self._done,
        )
        given.order.halt = self._halt
        given.tools.processes.limits = self._crew
        self._leftovers = Leftovers(self._crews, given.report)
        beat_broker = broker.another() if options.beat_in_thread else broker
        last_resort = LastResort(
            beat_broker,
            session=given.session,
            crews=self._crews,
            settler=self._settler,
            leases=self._leases,
            order=given.order,
            clock=given.clock,
            broker_clock=given.broker_clock,
            rng=rng,
            report=given.report,
            ends_with=options.ends_with,
        )
        self._beat = Beat(
            beat_broker,
            session=given.session,
            leases=self._leases,
            crews=self._crews,
            options=options,
            clock=given.clock,
            broker_clock=given.broker_clock,
            rng=rng,
            heard=self._heard,
            ended=self._session_ended,
            last_resort=last_resort,
        )
        self._sweeper = Sweeper(
            broker,
            clock=given.broker_clock,
            rng=rng,
            report=given.report,
            each_ms=options.sweep_ms,
            renewed_for=self._beat.answered_for,
        )
        self._is_closing = False
        self._stuck = 0
        self._unknown: set[str] = set()
        """The types without a handler that were reported."""
        self._pump_scope = anyio.CancelScope()
        self._pump_ended = anyio.Event()
        self._tasks = anyio.create_task_group()

    def _make_crew(self, size: int, innermost: Next, solo: Crew | None) -> Crew:
        given = self._given
        return Crew(
            size=size,
            chain=compose(given.registry.middleware, innermost),
            handlers=given.registry.handlers,
            tools=given.tools,
            clock=given.clock,
            admit=self._admit,
            done=self._done,
            solo=solo,
            moved=self._moved,
        )

    def _admit(self, record: Record, handler: AnyHandler | None) -> Happening | None:
        if handler is None and record.fault is None:
            self._tell_unknown(record)
        return admit(record, self._given.broker_clock.now_ms(), known=handler is not None)

    def _tell_unknown(self, record: Record) -> None:
        """Report a type without a handler, once: its jobs wait for a worker that knows it."""
        job = record.job
        if job.type not in self._unknown and len(self._unknown) < _MOST_UNKNOWN:
            self._unknown.add(job.type)
            about = {"job_id": job.id, "type": job.type, "queue": job.queue, "status": "parked"}
            logger.warning("unknown_type", extra=about)

    def _done(self, record: Record, happening: Happening | None) -> None:
        if happening is None:
            self._given.report.lease_lost += 1
            self._leases.forget(record)
        else:
            self._settler.add(record, happening)
        self._pump.notify()

    def _heard(self, pulse: Pulse) -> None:
        now = self._given.clock.monotonic()
        adopted = self._leases.heard(pulse, self._crews, self._settler, now)
        self._given.report.orphans += adopted
        self._pump.notify()

    def _session_ended(self, error: SessionEnded) -> None:
        """Stop everything at once: the attempts no longer count."""
        if self._is_closing:
            return  # it was this shift that closed it; a last beat came too late
        logger.error("session_ended", extra={"worker": self._given.name, "error": str(error)})
        self.ended = error
        self._pump.stop_claiming()
        for crew in self._crews:
            crew.take_back()
        self._leases.forget_all()
        self._tasks.cancel_scope.cancel()

    async def run(self) -> None:
        """Work until drained, then hand back, settle and close."""
        options = self._given.options
        if options.beat_in_thread:
            self._beat.start()
        try:
            async with self._tasks as tasks:
                for crew in self._crews:
                    for slot in crew.slots:
                        tasks.start_soon(crew.consume, slot)
                    tasks.start_soon(crew.watch)
                tasks.start_soon(self._guarded_pump)
                tasks.start_soon(self._guarded_lane)
                tasks.start_soon(self._sweep)
                tasks.start_soon(
                    Janitor(self._given.broker, rng=self._given.rng, each_ms=options.purge_ms).run
                )
                if options.schedules and not options.burst:
                    tasks.start_soon(self._scheduler().run)
                tasks.start_soon(self._keep)
                tasks.start_soon(self._write_notes)
                if not options.beat_in_thread:
                    tasks.start_soon(self._beat.run)
                self._pump.notify()
                self._given.opened()
                await self._until_drained()
                await self._closing.drain()
                self._pump_scope.cancel()
                self._is_closing = True
                with anyio.move_on_after(CLOSE_S, shield=True):
                    await self._pump_ended.wait()
                    await self._closing.close()
                self._given.order.closed.set()
                tasks.cancel_scope.cancel()
        finally:
            self._beat.stop()
        self._beat.join(0.2)

    async def _guarded_pump(self) -> None:
        try:
            with self._pump_scope:
                await self._pump.run()
        except SessionEnded as error:
            self._session_ended(error)
        finally:
            self._settler.failed()  # what it was sending when it was stopped is sent again
            self._pump_ended.set()

    async def _guarded_lane(self) -> None:
        try:
            await self._pump.wait_lane()
        except SessionEnded as error:
            self._session_ended(error)

    def _scheduler(self) -> Scheduler:
        return Scheduler(
            self._given.broker,
            declared=self._given.registry.timetable,
            clock=self._given.broker_clock,
            rng=self._given.rng,
        )

    async def _sweep(self) -> None:
        while True:
            await self._sweeper.wait(self._pump.more_children)
            self._pump.more_children = anyio.Event()
            await self._sweeper.run()

    async def _keep(self) -> None:
        """Show that the loop turns, look for handlers that will not stop and jobs that cannot start."""
        finished, second = 0, False
        while True:
            self._beat.alive()
            await anyio.sleep(_ALIVE_S)
            self._count_stuck()
            second = not second
            if second:
                self._leftovers.look()
            if self._crew.buffer and self._crew.finished == finished:
                # Prefetched behind jobs that turned out to be long: others may have a slot.
                self._closing.hand_back(self._crew.take_back())
            finished = self._crew.finished

    async def _write_notes(self) -> None:
        while True:
            await anyio.sleep(_NOTES_S)
            if not self._given.notebook.empty:
                try:
                    await self._pump.write_notes()
                except SessionEnded as error:
                    self._session_ended(error)

    def _count_stuck(self) -> None:
        report, slots = self._given.report, self._crew.slots
        fresh = self._crew.mark_stuck() + self._solo.mark_stuck()
        for record in fresh:
            job = record.job
            about = {"job_id": job.id, "type": job.type, "queue": job.queue, "status": "running"}
            logger.error("handler_ignores_cancel", extra=about)
        self._stuck += len(fresh)
        report.stuck = self._stuck + self._given.tools.threads.abandoned
        if report.stuck * 10 > len(slots) and not report.recycle:
            report.recycle = True
            logger.error("worker_recycles", extra={"stuck": report.stuck, "slots": len(slots)})
            self._given.order.announce(self._given.clock.monotonic(), None)
            self._given.order.ask(None)

    async def _until_drained(self) -> None:
        async with anyio.create_task_group() as tasks:

            async def wait(event: anyio.Event) -> None:
                await event.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(wait, self._given.order.asked)
            if self._given.options.burst:
                tasks.start_soon(wait, self._pump.idle)

    def _moved(self) -> None:
        self._pump.notify()

    def _halt(self) -> None:
        for crew in self._crews:
            crew.halt()

    def _occupied(self) -> bool:
        return any(crew.busy or crew.buffer for crew in self._crews)

    async def _look(self) -> bool:
        """Decide about blocked jobs now; tell whether any moved."""
        return await self._sweeper.sweep()
