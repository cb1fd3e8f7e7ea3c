"""The worker's traffic with its broker: settle and claim, fused, with no timer.

Two lanes. The pump settles what has ended and claims for the free slots in one `turn`. When a turn
brings less than was asked for, the queues are empty: then the second lane waits in `claim`, and
the pump only settles until that claim brings something. What ends while a call is in flight goes
out with the next one: an idle worker adds no latency, a busy one has large batches.

A call that failed may have been carried out: its outcomes are sent again (fences make that
harmless), its claims are found by the heartbeat as orphans.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio

from treadle.broker.base import Broker, Capability, Pulse
from treadle.domain.job import Record
from treadle.domain.outcome import Interrupted, Write
from treadle.domain.retry import Rng
from treadle.domain.selection import order
from treadle.errors import BrokerError, SessionEnded
from treadle.runtime.backoff import Backoff
from treadle.runtime.clock import BrokerClock
from treadle.runtime.crew import Crew
from treadle.runtime.leases import Leases
from treadle.runtime.notebook import Notebook
from treadle.runtime.options import BATCH, SOLO_WAIT_MS, WorkerOptions
from treadle.runtime.report import WorkerReport
from treadle.runtime.settle import Settler

_PUSH_WAIT_MS = 5_000
_BURST_WAIT_MS = 10, 500
"""So long may a claim of a burst wait while jobs run, which may enqueue others and wait for them: at
first, and after many that brought nothing."""
_SUSPECTS_BACK_S = 2 * SOLO_WAIT_MS / 1000
"""By then a suspect that was handed back is due again, also where timers are late."""
_LONG_JOB = 10
"""A mean run time above this many round trips means no prefetch."""


class Pump:
    """Settles and claims for one session. `notify` whenever an outcome or a free slot appears.

    `busy` tells whether anything waits for a slot or runs; in burst mode, `look` decides about blocked
    jobs before the pump says that nothing is due any more.
    """

    def __init__(
        self,
        *,
        broker: Broker,
        session: str,
        crew: Crew,
        settler: Settler,
        leases: Leases,
        notebook: Notebook,
        clock: BrokerClock,
        options: WorkerOptions,
        report: WorkerReport,
        rng: Rng,
        heard: Callable[[Pulse], None],
        busy: Callable[[], bool],
        look: Callable[[], Awaitable[bool]],
    ) -> None:
        self.session = session
        self.claiming = True
        self.idle = anyio.Event()
        """In burst mode: nothing was due and nothing runs."""
        self.more_children = anyio.Event()
        """A job that others wait for became final."""
        self._broker = broker
        self._crew = crew
        self._settler = settler
        self._leases = leases
        self._notebook = notebook
        self._clock = clock
        self._options = options
        self._report = report
        self._rng = rng
        self._heard = heard
        self._busy = busy
        self._look = look
        self._round_trip = 0.002
        self._settling = Backoff(rng, "settle")
        self._waiting = Backoff(rng, "claim")
        self._dry = False
        """A claim brought less than was asked for, and nothing has been claimed since."""
        self._looked = False
        """In burst mode: blocked jobs were looked at since the last claim that brought something."""
        self._burst_wait_ms = _BURST_WAIT_MS[0]
        self._returns_until = 0.0
        """Until then a suspect that this worker handed back for a moment may come again."""
        self._lane_busy = False
        self._asked_by_lane = 0
        self._lane_go = anyio.Event()
        self._lane_scope = anyio.CancelScope()
        self._signal = anyio.Event()
        self._parked = False
        self._away = False
        """The last call found no broker."""

    def notify(self) -> None:
        """Say that there may be something to settle or a slot to fill."""
        if self._parked:
            self._parked = False
            self._signal.set()

    def stop_claiming(self) -> None:
        """Claim nothing more; what a claim under way brings is handed back."""
        self.claiming = False
        self._lane_scope.cancel()
        self.notify()

    @property
    def unsettled(self) -> int:
        """Count the outcomes that the broker has not acknowledged."""
        return len(self._settler)

    async def run(self) -> None:
        """Settle and claim until cancelled."""
        while True:
            if not await self._round():
                self._parked = True
                self._signal = anyio.Event()
                await self._signal.wait()

    async def _round(self) -> bool:
        """Make one call, if there is something to do; tell whether there was."""
        room = self._room()
        if self._settler.waiting:
            writes = self._settler.begin(BATCH, self._clock.now_ms())
            if not writes:
                return True
            if not self._notebook.empty:
                await self._notes_first()
            await self._settle(writes, 0 if self._lane_busy or self._dry else room)
            return True
        if room > 0 and not self._lane_busy:
            if self._dry or not self._crew.busy:
                self._start_lane(room)
                return False
            await self._settle([], room)
            return True
        return False

    def _room(self) -> int:
        """Count how many records may be claimed: free slots, and prefetch for short jobs."""
        if not self.claiming:
            return 0
        crew, size = self._crew, len(self._crew.slots)
        if len(self._settler) > 2 * size:
            return 0
        free = size - crew.busy - len(crew.buffer) + self._prefetch(size)
        return min(max(free - self._asked_by_lane, 0), BATCH)

    def _prefetch(self, size: int) -> int:
        mean, trip = self._crew.mean, self._round_trip
        if not self._crew.finished or mean > _LONG_JOB * trip:
            return 0
        return min(size, int(2 * trip * size / max(mean, 1e-6)))

    async def _settle(self, writes: Sequence[Write], room: int) -> None:
        broker, started = self._broker, anyio.current_time()
        number = self._leases.begin_claim() if room else 0
        records: Sequence[Record] = ()
        try:
            if room:
                queues = order(self._options.selection, self._rng)
                turned = await broker.turn(self.session, writes, queues, room)
                now, results, records = turned.now, turned.results, turned.records
            else:
                settled = await broker.apply(writes)
                now, results = settled.now, settled.results
        except BrokerError as error:
            self._settler.failed()
            if number:
                self._leases.end_claim(number, ())
            await self._after(error, self._settling)
            return
        except BaseException:
            self._settler.failed()
            raise
        self._clock.sync(now)
        self._settling.worked()
        self._came_back()
        self._settler.answered(writes, results)
        if self._crew.sent_away:
            self._returns_until = anyio.current_time() + _SUSPECTS_BACK_S
        if self._settler.children:
            self._settler.children = False
            self.more_children.set()
        if room:
            self._round_trip += (anyio.current_time() - started - self._round_trip) * 0.1
            self._dry = len(records) < room
            self._deliver(number, records)

    def _deliver(self, number: int, records: Sequence[Record]) -> None:
        self._leases.end_claim(number, records)
        self._report.claimed += len(records)
        self._looked = self._looked and not records
        if self.claiming:
            self._crew.offer(records)
            return
        for record in records:  # a drain began while the call was under way
            self._settler.add(record, Interrupted(started=False))

    def _came_back(self) -> None:
        if self._away:
            self._away = False
            self._report.reconnects += 1

    def _start_lane(self, room: int) -> None:
        self._lane_busy = True
        self._asked_by_lane = room
        self._lane_go.set()

    async def wait_lane(self) -> None:
        """Wait in claims while the queues are empty, until cancelled."""
        push = Capability.PUSH in self._broker.capabilities
        wait_ms = _PUSH_WAIT_MS if push else self._options.poll_ms
        while True:
            await self._lane_go.wait()
            self._lane_go = anyio.Event()
            with anyio.CancelScope() as self._lane_scope:
                await self._claim(self._asked_by_lane, wait_ms)
            self._lane_busy, self._asked_by_lane = False, 0
            self.notify()

    async def _claim(self, room: int, wait_ms: int) -> None:
        if not self.claiming:
            return
        number = self._leases.begin_claim()
        records: Sequence[Record] = ()
        # Suspects that wait for their turn are this worker's to run: a burst does not end before them.
        was_busy = self._busy() or anyio.current_time() < self._returns_until
        if self._options.burst:
            wait_ms = min(wait_ms, self._burst_wait_ms) if was_busy else 0
        try:
            queues = order(self._options.selection, self._rng)
            claimed = await self._broker.claim(self.session, queues, room, wait_ms)
            self._clock.sync(claimed.now)
            self._waiting.worked()
            self._came_back()
            records = claimed.records
        except BrokerError as error:
            self._leases.end_claim(number, ())
            await self._after(error, self._waiting)
            return
        except BaseException:
            self._leases.end_claim(number, ())
            raise
        self._dry = len(records) < room
        first_ms, last_ms = _BURST_WAIT_MS
        self._burst_wait_ms = first_ms if records else min(2 * self._burst_wait_ms, last_ms)
        self._deliver(number, records)
        if self._options.burst and not (records or was_busy or self._busy() or self.unsettled):
            await self._end_burst()

    async def _end_burst(self) -> None:
        """Stop claiming, unless a job that waited for others has become due."""
        if self._looked:
            self.claiming = False
            self.idle.set()
            return
        try:
            await self._look()
            self._looked = True  # what it freed, or another sweep did, is found by one more claim
        except BrokerError as error:
            await self._after(error, self._waiting)

    async def _notes_first(self) -> None:
        """Write the notes of what is about to be settled: afterwards its fence has moved."""
        try:
            await self.write_notes()
        except BaseException:
            self._settler.failed()
            raise

    async def write_notes(self) -> None:
        """Write what handlers noted; notes of attempts that lost their lease are dropped."""
        notes = self._notebook.take()
        if not notes:
            return
        try:
            await self._broker.note(self.session, notes)
        except BrokerError as error:
            # Progress and log lines are not promised: an outcome must not wait for them.
            await self._after(error, self._settling)

    async def _after(self, error: BrokerError, backoff: Backoff) -> None:
        """Wait before the next try; a session that only expired is renewed first.

        Raises:
            SessionEnded: if the heartbeat says that the session has really ended.
        """
        if not isinstance(error, SessionEnded):
            self._away = True
            await backoff.failed(error)
            return
        try:
            self._heard(await self._broker.heartbeat(self.session, self._leases.held()))
        except SessionEnded:
            raise
        except BrokerError as away:
            await backoff.failed(away)
