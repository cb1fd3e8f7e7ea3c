"""A fixed crew of consumers that run attempts: no task, scope or timer per job.

Each slot is one long-lived task with one long-lived cancel scope. A job is stopped (time limit,
cancel, lost lease, end of the grace period) by cancelling its slot's scope; the consumer then
records what really happened, leaves the scope and opens a new one, so neighbours feel nothing.

Waking is a chain: whoever takes a job while others remain wakes one more consumer, and only if no
wake-up is on its way. So handlers that never suspend cost one wake-up a batch, and handlers that do are
all started within one turn of the loop.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import assert_never

import anyio
from anyio.lowlevel import checkpoint
from msgspec import structs

from treadle.broker.base import Clock, Lease
from treadle.domain.decide import is_suspect
from treadle.domain.job import ErrorInfo, Record
from treadle.domain.outcome import Cancelled, Failed, Happening, Interrupted, Lost, Outcome
from treadle.domain.state import Reason
from treadle.runtime.attempt import Attempt, Next, Tools
from treadle.runtime.failures import failure
from treadle.runtime.handlers import AnyHandler
from treadle.runtime.options import SOLO_WAIT_MS, STUCK_MS

logger = logging.getLogger("treadle.worker")

SHORT_S, SHORT_QUEUE = 0.75, 10
"""Attempts that take less than this may queue behind each slot, so many of them."""
SLICE_S = 0.01
"""How long handlers that never suspend may keep the loop between two of them."""


class Stop(Enum):
    """Why an attempt was stopped from outside."""

    TIMEOUT = "timeout"
    CANCEL = "cancel"
    DRAIN = "drain"
    LOST = "lost"


class Slot:
    """One consumer: the record that it runs now, if any, and the scope that can stop it."""

    __slots__ = (
        "attempt",
        "deadline",
        "record",
        "scope",
        "started",
        "stop_reason",
        "stopped",
        "stuck",
    )

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.attempt: Attempt | None = None
        self.record: Record | None = None
        self.started = 0.0
        self.deadline = 0.0
        self.stop_reason: Stop | None = None
        self.stopped = 0.0
        self.stuck = False

    def stop(self, reason: Stop, now: float) -> None:
        """Stop the attempt that runs; the first reason counts."""
        if self.stop_reason is not None or self.attempt is None:
            return
        self.stop_reason = reason
        self.stopped = now
        self.attempt.stop()
        self.scope.cancel()


Admit = Callable[[Record, AnyHandler | None], Happening | None]
Done = Callable[[Record, Happening | None], None]


def _nothing() -> None:
    """Tell nobody that a place became free."""


class Crew:
    """Runs what is offered to it on a fixed number of slots, and hands every outcome to `done`.

    `admit` may answer a record without running it; `solo` is the crew that takes the suspects
    (None: they run here). `done` gets None for an attempt whose lease was lost: there is nothing to
    settle.
    """

    def __init__(
        self,
        *,
        size: int,
        chain: Next,
        handlers: Mapping[str, AnyHandler],
        tools: Tools,
        clock: Clock,
        admit: Admit,
        done: Done,
        solo: Crew | None = None,
        moved: Callable[[], None] = _nothing,
    ) -> None:
        self.slots = [Slot() for _ in range(size)]
        self.buffer: deque[Record] = deque()
        self.busy = 0
        self.finished = 0
        self.mean = 0.0
        """Moving average of how long an attempt takes, in seconds; 0 before the first."""
        self._chain = chain
        self._handlers = handlers
        self._tools = tools
        self._monotonic = clock.monotonic
        self._admit = admit
        self._solo = solo
        self._done = done
        self._moved = moved
        self._held = False
        self._halted = False
        self._quiet = anyio.Event()
        self._now = 0.0
        self._yield_at = 0.0
        self._idle: list[anyio.Event] = []
        self._waking = False
        self._watched = anyio.Event()
        self._cancelled_exc: type[BaseException] = Exception

    def offer(self, records: Sequence[Record]) -> None:
        """Queue claimed records behind those that already wait for a slot."""
        self.buffer.extend(records)
        if self.buffer and self._idle and not self._waking and self._may_start:
            self._wake()

    @property
    def _may_start(self) -> bool:
        return not (self._held or self._halted)

    def halt(self) -> None:
        """Start nothing more, for good; may be called from any thread."""
        self._halted = True

    def has_room(self) -> bool:
        """Tell whether one more record would find a free slot at once, or in a moment."""
        short = self.finished and self.mean < SHORT_S
        places = len(self.slots) * (SHORT_QUEUE if short else 1)
        return self.busy + len(self.buffer) < places

    async def hold(self) -> None:
        """Start nothing more, and wait until nothing runs; `release` ends it, also if this fails."""
        self._held = True
        while self.busy:
            self._quiet = anyio.Event()
            await self._quiet.wait()

    def release(self) -> None:
        """Go on after `hold`."""
        self._held = False
        self.offer(())

    def take_back(self) -> list[Record]:
        """Take every record that no slot has started yet."""
        taken: list[Record] = []
        with suppress(IndexError):  # the loop and the heartbeat thread may both be at it
            while True:
                taken.append(self.buffer.popleft())
        return taken

    def running(self, lease: Lease) -> Slot | None:
        """Return the slot that runs this very attempt."""
        for slot in self.slots:
            attempt = slot.attempt
            if attempt is not None and attempt.lease == lease:
                return slot
        return None

    def pause_limit(self, attempt: Attempt) -> None:
        """Let no time limit end an attempt that has not really begun."""
        slot = self.running(attempt.lease)
        if slot is not None:
            slot.deadline = 0.0

    def start_limit(self, attempt: Attempt) -> None:
        """Count an attempt's time from now on."""
        slot = self.running(attempt.lease)
        if slot is not None:
            slot.started = self._monotonic()
            self._limit(slot, attempt)

    def _limit(self, slot: Slot, attempt: Attempt) -> None:
        limit = attempt.job.policy.timeout_ms
        if limit:
            slot.deadline = slot.started + limit / 1000
            if not self._watched.is_set():
                self._watched.set()

    def mark_stuck(self) -> list[Record]:
        """Return the records whose handlers newly ignore that they were stopped."""
        now, found = self._monotonic(), list[Record]()
        for slot in self.slots:
            if slot.stop_reason is None or slot.record is None or slot.stuck:
                continue
            if now - slot.stopped > STUCK_MS / 1000:
                slot.stuck = True
                found.append(slot.record)
        return found

    async def consume(self, slot: Slot) -> None:
        """Run offered records on one slot until cancelled."""
        self._cancelled_exc = anyio.get_cancelled_exc_class()
        while True:
            try:
                with anyio.CancelScope() as slot.scope:
                    await self._serve(slot)
            except self._cancelled_exc:
                if _cancelled_from_outside():
                    raise
                logger.warning("handler_cancelled_its_task")

    def _wake(self) -> None:
        self._waking = True
        self._idle.pop().set()

    async def _serve(self, slot: Slot) -> None:
        buffer = self.buffer
        while True:
            if not buffer or self._held or self._halted:
                event = anyio.Event()
                self._idle.append(event)
                await event.wait()
                self._waking = False
                continue
            try:
                record = buffer.popleft()
            except IndexError:
                continue  # the heartbeat thread took it back
            if buffer and self._idle and not self._waking:
                self._wake()
            handler = self._handlers.get(record.job.type)
            if handler is None or not _is_plain(record):
                handler = self._unusual(record, handler)
                if handler is None:
                    continue
            await self._run(slot, record, handler)
            if slot.scope.cancel_called:
                return  # stopped, but it finished first: only the scope must be renewed
            if self._now > self._yield_at:
                # Handlers that never suspend must not keep the others from the loop.
                await checkpoint()
                self._yield_at = self._monotonic() + SLICE_S

    def _unusual(self, record: Record, handler: AnyHandler | None) -> AnyHandler | None:
        """Deal with a record that may not simply run here; return the handler if it may."""
        instead = self._admit(record, handler)
        if instead is not None:
            self._done(record, instead)
            return None
        if self._solo is not None and is_suspect(record):
            self._send_away(record, self._solo)
            return None
        return handler

    def _send_away(self, record: Record, solo: Crew) -> None:
        """Let a suspect run alone, or hand it back for a moment if there is no room for it."""
        if solo.has_room():
            solo.offer([record])
            self._moved()  # its place in this crew is free
        else:
            self._done(record, Interrupted(started=False, delay_ms=SOLO_WAIT_MS))

    async def _run(self, slot: Slot, record: Record, handler: AnyHandler) -> None:
        job, head = record.job, record.head
        attempt = Attempt(
            job=job,
            number=head.attempt,
            lease=Lease(job.queue, job.id, head.fence),
            handler=handler,
            tools=self._tools,
        )
        started = self._monotonic()
        slot.record, slot.attempt, slot.started, slot.stop_reason = record, attempt, started, None
        if job.policy.timeout_ms:
            self._limit(slot, attempt)
        self.busy += 1
        outcome: Outcome | None = None
        try:
            outcome = await self._chain(attempt)
        except Exception as error:  # noqa: BLE001 - a failed middleware is no dead worker
            outcome = self._raised(slot, error)
        except self._cancelled_exc as error:
            # Without a stop it is the worker's own end, or the handler's private cancellation.
            stopped = slot.stop_reason is not None
            if stopped or not _cancelled_from_outside():
                outcome = self._raised(slot, error)
            if outcome is None or stopped:
                raise
        finally:
            self.busy -= 1
            if self._held and not self.busy:
                self._quiet.set()
            self._leave(slot, record, outcome, started)

    def _leave(self, slot: Slot, record: Record, outcome: Outcome | None, started: float) -> None:
        took = self._monotonic() - started
        self._now = started + took
        self.finished += 1
        self.mean = took if self.finished == 1 else self.mean + (took - self.mean) * 0.05
        lost = slot.stop_reason is Stop.LOST
        slot.record, slot.attempt, slot.deadline, slot.stuck = None, None, 0.0, False
        if outcome is None and not lost:
            return  # the worker itself was cancelled: its lease tells the others
        ran_ms = int(took * 1000)
        if outcome is not None and ran_ms and not isinstance(outcome, Lost):
            outcome = structs.replace(outcome, ran_ms=ran_ms)
        self._done(record, None if lost else outcome)

    def _raised(self, slot: Slot, error: BaseException) -> Outcome:
        record = slot.record
        if slot.stop_reason is None or not isinstance(error, self._cancelled_exc) or record is None:
            return failure(error)
        if slot.attempt is not None and slot.attempt.late is not None:
            return slot.attempt.late  # its thread came to an end all the same
        return stopped_outcome(slot.stop_reason, record)

    async def watch(self, tick: float = 0.1) -> None:
        """Stop attempts that ran into their time limit; sleeps while none has one."""
        while True:
            await self._watched.wait()
            self._watched = anyio.Event()
            while any(slot.deadline for slot in self.slots):
                now = self._monotonic()
                for slot in self.slots:
                    if slot.deadline and slot.deadline <= now:
                        slot.stop(Stop.TIMEOUT, now)
                await anyio.sleep(tick)


def _is_plain(record: Record) -> bool:
    """Tell whether nothing about a record needs a second look: almost always."""
    head = record.head
    return not (head.deaths or head.expires or record.lost or record.fault)


def _cancelled_from_outside() -> bool:
    """Tell whether a scope around this task was cancelled, and not only the handler's own."""
    return anyio.get_current_task().has_pending_cancellation()


def stopped_outcome(reason: Stop, record: Record) -> Outcome:
    """Name the outcome of an attempt that ended because it was stopped."""
    match reason:
        case Stop.TIMEOUT:
            return timed_out(record)
        case Stop.CANCEL:
            return Cancelled()
        case Stop.DRAIN | Stop.LOST:
            return Interrupted()
        case _:
            assert_never(reason)


def timed_out(record: Record) -> Failed:
    """Return the outcome of an attempt that ran into its time limit."""
    limit = record.job.policy.timeout_ms / 1000
    message = f"job {record.job.id} ran longer than its time limit of {limit:g} s"
    kinds = ("builtins.TimeoutError", "builtins.OSError", "builtins.Exception")
    return Failed(
        error=ErrorInfo(type="TimeoutError", message=message), kinds=kinds, reason=Reason.TIMEOUT
    )
