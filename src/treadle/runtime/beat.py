"""Keeps the session's leases, from a thread with a broker of its own.

A handler that blocks the worker's loop must not cost its own lease or that of its neighbours, so
the heartbeat does not run on that loop. The same thread watches the loop: blocked for more than 1 s,
it logs the blocked stack; for more than 30 s, it hands back the jobs that no slot has started; and when a
job's own time limit is over by 5 s while the loop is blocked, it settles that attempt itself as timed
out, so that a stuck handler cannot hold a job for ever. Of a drain that finds the loop blocked to the end
`last_resort` takes care, in the same thread.

On a virtual clock (tests) the same duty runs as a task of the worker's loop.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

import anyio
from msgspec import Struct

from treadle.broker.base import Broker, Clock, Lease, Pulse
from treadle.broker.loop import LoopHandle
from treadle.domain.decide import decide
from treadle.domain.job import Record
from treadle.domain.outcome import Happening, Interrupted, Refused, Write
from treadle.domain.retry import Rng
from treadle.errors import BrokerError, SessionEnded
from treadle.runtime.backoff import Backoff
from treadle.runtime.clock import BrokerClock
from treadle.runtime.crew import Crew
from treadle.runtime.last_resort import LastResort
from treadle.runtime.leases import Leases
from treadle.runtime.options import STUCK_MS, WorkerOptions
from treadle.runtime.slots import Slot, timed_out

logger = logging.getLogger("treadle.beat")
_T = TypeVar("_T")

_BUSY_BEAT_S = 1.0
"""While attempts run for longer than this, beats come this often: a cancel reaches them soon."""
_WATCH_S = 0.5


class Pulled(Struct):
    """What the loop shows of itself: the instant at which it was last seen alive."""

    at: float


class Beat:
    """Beats for one session until stopped; `heard` and `ended` are called on the worker's loop."""

    def __init__(
        self,
        broker: Broker,
        *,
        session: str,
        leases: Leases,
        crews: Sequence[Crew],
        options: WorkerOptions,
        clock: Clock,
        broker_clock: BrokerClock,
        rng: Rng,
        heard: Callable[[Pulse], None],
        ended: Callable[[SessionEnded], None],
        last_resort: LastResort | None = None,
    ) -> None:
        self._broker = broker
        self._session = session
        self._leases = leases
        self._crews = crews
        self._options = options
        self._clock = clock
        self._broker_clock = broker_clock
        self._rng = rng
        self._heard = heard
        self._ended = ended
        self._last_resort = last_resort
        self._alive = Pulled(clock.monotonic())
        self._answered_since: float | None = clock.monotonic()
        self._blocked_logged = False
        self._settled: set[Lease] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._wake: Callable[[], object] = _nothing
        self._post: Callable[[Callable[[], object]], object] = _call
        self._main_thread = threading.get_ident()

    def start(self) -> None:
        """Start the thread; call it on the worker's loop."""
        handle = LoopHandle()
        self._post = handle.post
        self._thread = threading.Thread(
            target=self._in_thread, args=(handle.backend,), name="treadle-beat", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; callable from any thread."""
        self._stop.set()
        self._wake()

    def join(self, timeout: float) -> None:
        """Wait until the thread has ended."""
        if self._thread is not None:
            self._thread.join(timeout)

    def answered_for(self) -> float:
        """Return for how many seconds every beat has been answered; 0 during an outage."""
        since = self._answered_since
        return 0.0 if since is None else self._clock.monotonic() - since

    def alive(self) -> None:
        """Note that the worker's loop turns; called on it twice a second."""
        self._alive.at = self._clock.monotonic()

    def blocked_for(self) -> float:
        """Return for how many seconds the loop has shown no sign of life."""
        return self._clock.monotonic() - self._alive.at

    async def run(self) -> None:
        """Beat until cancelled, on the loop that calls."""
        backoff = Backoff(self._rng, "heartbeat")
        due = 0.0
        while True:
            now = self._clock.monotonic()
            if now >= due:
                if not await self._once(backoff):
                    return
                # After a failure the wait is over already: the lease must be renewed first of all.
                due = 0.0 if backoff.failing else self._clock.monotonic() + self._interval()
            await self._look_at_loop()
            if due:
                await anyio.sleep(min(_WATCH_S, max(due - self._clock.monotonic(), 0.01)))

    def _in_thread(self, backend: str) -> None:
        try:
            while not self._stop.is_set():
                try:
                    anyio.run(self._main, backend=backend)
                except Exception:  # the lease must be kept whatever went wrong
                    logger.exception("heartbeat_failed")
                    self._stop.wait(_WATCH_S)
                else:
                    return
        finally:
            self._wake = _nothing

    async def _main(self) -> None:
        handle = LoopHandle()
        stopped = anyio.Event()
        self._wake = lambda: handle.post(stopped.set)
        if self._stop.is_set():
            return  # it was stopped before it could be woken
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._connected)
            if self._last_resort is not None:
                tasks.start_soon(self._last_resort.watch, self.blocked_for)
            await stopped.wait()
            tasks.cancel_scope.cancel()

    async def _connected(self) -> None:
        backoff = Backoff(self._rng, "heartbeat_connect")
        while True:
            try:
                await self._broker.connect()
                break
            except BrokerError as error:
                await backoff.failed(error)
        try:
            await self.run()
        finally:
            with anyio.CancelScope(shield=True):
                await self._broker.disconnect()

    def _interval(self) -> float:
        now = self._clock.monotonic()
        for slot in self._slots():
            if slot.attempt is not None and now - slot.started > _BUSY_BEAT_S:
                return min(_BUSY_BEAT_S, self._options.beat_ms / 1000)
        return self._options.beat_ms / 1000

    async def _once(self, backoff: Backoff) -> bool:
        """Beat once; tell whether the session lives."""
        try:
            pulse = await self._broker.heartbeat(self._session, self._leases.held())
        except SessionEnded as error:
            self._post(_bound(self._ended, error))
            return False
        except BrokerError as error:
            self._answered_since = None
            await backoff.failed(error)
            return True
        if backoff.worked() or self._answered_since is None:
            self._answered_since = self._clock.monotonic()
        self._broker_clock.sync(pulse.now)
        self._post(_bound(self._heard, pulse))
        return True

    async def _look_at_loop(self) -> None:
        blocked_ms = self.blocked_for() * 1000
        if self._settled:
            self._settled &= {slot.attempt.lease for slot in self._slots() if slot.attempt}
        if blocked_ms < self._options.blocked_warn_ms:
            self._blocked_logged = False
            return
        if not self._blocked_logged:
            self._blocked_logged = True
            logger.warning(
                "loop_blocked",
                extra={"blocked_ms": int(blocked_ms), "stack": self._stack()},
            )
        try:
            await self._settle_overrun()
            if blocked_ms >= self._options.blocked_hand_back_ms:
                await self._hand_back()
        except BrokerError as error:
            logger.warning("broker_away", extra={"duty": "blocked loop", "error": str(error)})

    def _stack(self) -> str:
        frames = sys._current_frames()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - documented, in spite of its name
        frame = frames.get(self._main_thread)
        return "" if frame is None else "".join(traceback.format_stack(frame)[-12:])

    async def _settle_overrun(self) -> None:
        """Settle attempts whose limit is long over while nobody on the loop can."""
        now = self._clock.monotonic()
        late: list[tuple[Record, Happening]] = []
        for slot in self._slots():
            record, attempt, deadline = slot.record, slot.attempt, slot.deadline
            if record is None or attempt is None or not deadline or attempt.lease in self._settled:
                continue
            if now > deadline + STUCK_MS / 1000:
                late.append((record, timed_out(record)))
        if late:
            await self._apply(late)
            for record, _ in late:
                self._settled.add(Lease(record.job.queue, record.job.id, record.head.fence))
            await self._hand_back()

    async def _hand_back(self) -> None:
        """Give back what no slot has started; the loop is blocked, so nobody else takes it."""
        for crew in self._crews:
            unstarted = crew.take_back()
            if not unstarted:
                continue
            logger.warning("handed_back", extra={"jobs": len(unstarted)})
            try:
                await self._apply([(record, Interrupted(started=False)) for record in unstarted])
            except BrokerError:
                crew.buffer.extendleft(reversed(unstarted))
                raise
            for record in unstarted:
                self._leases.forget(record)

    def _slots(self) -> list[Slot]:
        return [slot for crew in self._crews for slot in crew.slots]

    async def _apply(self, ended: list[tuple[Record, Happening]]) -> None:
        now = self._broker_clock.now_ms()
        writes: list[Write] = []
        for record, happening in ended:
            write = decide(record, happening, record.job.policy, now, self._rng)
            if not isinstance(write, Refused):
                writes.append(write)
        await self._broker.apply(writes)


def _nothing() -> None:
    """Wake nobody: the thread has no loop yet."""


def _call(callback: Callable[[], object]) -> object:
    return callback()


def _bound(function: Callable[[_T], None], value: _T) -> Callable[[], None]:
    def call() -> None:
        function(value)

    return call
