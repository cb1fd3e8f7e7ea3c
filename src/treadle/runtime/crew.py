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

import anyio
from anyio.lowlevel import checkpoint
from msgspec import structs

from treadle.broker.base import Clock, Lease
from treadle.domain.decide import is_suspect
from treadle.domain.job import Record
from treadle.domain.outcome import Happening, Interrupted, Lost, Outcome
from treadle.runtime.attempt import Attempt, Next, Tools
from treadle.runtime.failures import failure, is_cancellation, is_closing
from treadle.runtime.handlers import AnyHandler
from treadle.runtime.options import SOLO_WAIT_MS, STUCK_MS
from treadle.runtime.owner import OWNER
from treadle.runtime.slots import Slot, Stop, stopped_outcome

logger = logging.getLogger("treadle.worker")

SHORT_S, SHORT_QUEUE = 0.75, 10
"""Attempts that take less than this may queue behind each slot, so many of them."""
_ONE_MS = 0.001
SLICE_S = 0.01
"""How long handlers that never suspend may keep the loop between two of them."""

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
        self.sent_away = False
        """A suspect found no room: it was handed back, and comes again after SOLO_WAIT_MS."""
        self.names_owners = False
        """Let the tasks that a handler makes know the very attempt that they belong to."""
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
        self._unwatched = False
        """The watch sleeps, since no slot has a time limit."""
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
        """Start nothing more, and wait until nothing runs but what was given up.

        `release` ends it, also if this fails.
        """
        self._held = True
        while not self.all_stuck:
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
            self._limit(slot, attempt.job.policy.timeout_ms)

    def _limit(self, slot: Slot, limit_ms: int) -> None:
        if limit_ms:
            slot.deadline = slot.started + limit_ms / 1000
            if self._unwatched:
                self._unwatched = False
                self._watched.set()

    def mark_stuck(self) -> list[Record]:
        """Give up the attempts whose handlers ignore that they were stopped; return their records.

        Each ends as what it was stopped for; whatever its handler still comes to counts for nothing.
        """
        now, found = self._monotonic(), list[Record]()
        for slot in self.slots:
            if slot.stop_reason is None or slot.record is None or slot.stuck:
                continue
            if now - slot.stopped > STUCK_MS / 1000:
                slot.stuck = True
                found.append(slot.record)
                lost = slot.stop_reason is Stop.LOST
                outcome = None if lost else stopped_outcome(slot.stop_reason, slot.record)
                self._end(slot.record, outcome, now - slot.started)
        if found:
            self._quiet.set()
        return found

    def give_up(self) -> list[Record]:
        """Give up all that was stopped and still runs; return the records, which are not ended here."""
        found = list[Record]()
        for slot in self.slots:
            if slot.stop_reason is not None and slot.record is not None and not slot.stuck:
                slot.stuck = True
                found.append(slot.record)
        return found

    @property
    def all_stuck(self) -> bool:
        """Tell whether nothing runs but what was given up."""
        return self.busy == sum(slot.stuck for slot in self.slots)

    async def consume(self, slot: Slot) -> None:
        """Run offered records on one slot until cancelled."""
        self._cancelled_exc = anyio.get_cancelled_exc_class()
        slot.task = anyio.get_current_task().id
        OWNER.set(slot)
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

    def _left_its_place(self, event: anyio.Event) -> None:
        """Let nobody wake a consumer that was cancelled while it was idle; pass a wake-up on."""
        if event in self._idle:
            self._idle.remove(event)
            return
        self._waking = False
        self.offer(())

    async def _serve(self, slot: Slot) -> None:
        buffer = self.buffer
        self._now = self._monotonic()
        while True:
            if not buffer or self._held or self._halted:
                event = anyio.Event()
                self._idle.append(event)
                try:
                    await event.wait()
                except BaseException:
                    self._left_its_place(event)
                    raise
                self._waking = False
                self._now = self._monotonic()
                continue
            try:
                record = buffer.popleft()
            except IndexError:
                continue  # the heartbeat thread took it back
            if buffer and self._idle and not self._waking:
                self._wake()
            handler = self._handlers.get(record.job.type)
            head = record.head
            if handler is None or head.deaths or head.expires or record.lost or record.fault:
                handler = self._unusual(record, handler)
                if handler is None:
                    continue
            await self._run(slot, record, handler)
            if slot.stop_reason is not None:
                return  # stopped, but it finished first: only the scope must be renewed
            if self._now > self._yield_at:
                # Handlers that never suspend must not keep the others from the loop.
                await checkpoint()
                self._now = self._monotonic()
                self._yield_at = self._now + SLICE_S

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
            self.sent_away = True
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
        started = self._now  # of this moment: it was read when this slot became free
        slot.record, slot.attempt, slot.started, slot.stop_reason = record, attempt, started, None
        slot.lease = attempt.lease
        if self.names_owners:
            OWNER.set((slot, attempt.lease))
        self._limit(slot, job.policy.timeout_ms)
        self.busy += 1
        outcome: Outcome | None = None
        try:
            outcome = await self._chain(attempt)
        except Exception as error:  # noqa: BLE001 - a failed middleware is no dead worker
            outcome = self._raised(slot, error)
        except BaseException as error:
            if is_closing(error):
                raise
            # Without a stop it is the worker's own end, or the handler's private cancellation.
            asks = is_cancellation(error)
            stopped = asks and slot.stop_reason is not None
            if stopped or not (asks and _cancelled_from_outside()):
                outcome = self._raised(slot, error)
            if outcome is None or stopped:
                raise
        finally:
            self.busy -= 1
            self._leave(slot, record, outcome, started)
            if self._held:
                self._quiet.set()

    def _leave(self, slot: Slot, record: Record, outcome: Outcome | None, started: float) -> None:
        now = self._now = self._monotonic()
        took = now - started
        self.finished += 1
        self.mean = took if self.finished == 1 else self.mean + (took - self.mean) * 0.05
        lost = given_up = False
        if slot.stop_reason is not None:
            lost, given_up = slot.stop_reason is Stop.LOST, slot.stuck
            slot.stuck = False
        slot.record, slot.attempt, slot.deadline = None, None, 0.0
        if given_up or (outcome is None and not lost):
            return  # it was settled long ago; or the worker itself ends: its lease tells the others
        self._end(record, None if lost else outcome, took)

    def _end(self, record: Record, outcome: Outcome | None, took: float) -> None:
        if took >= _ONE_MS and outcome is not None and not isinstance(outcome, Lost):
            outcome = structs.replace(outcome, ran_ms=int(took * 1000))
        self._done(record, outcome)

    def _raised(self, slot: Slot, error: BaseException) -> Outcome:
        record = slot.record
        if slot.stop_reason is None or record is None or not is_cancellation(error):
            return failure(error)
        if slot.attempt is not None and slot.attempt.late is not None:
            return slot.attempt.late  # its thread came to an end all the same
        return stopped_outcome(slot.stop_reason, record)

    async def watch(self, tick: float = 0.1) -> None:
        """Stop attempts that ran into their time limit; sleeps while none has one."""
        while True:
            while any(slot.deadline for slot in self.slots):
                now = self._monotonic()
                for slot in self.slots:
                    if slot.deadline and slot.deadline <= now:
                        slot.stop(Stop.TIMEOUT, now)
                await anyio.sleep(tick)
            self._watched = anyio.Event()
            self._unwatched = True
            await self._watched.wait()


def _cancelled_from_outside() -> bool:
    """Tell whether a scope around this task was cancelled, and not only the handler's own."""
    return anyio.get_current_task().has_pending_cancellation()
