"""The end of a worker whose loop is still blocked when the grace period of a drain is over.

Nobody on that loop can settle, hand back or stop. So the heartbeat thread does it with its own
broker: what has ended is settled, what runs or never started is handed back, the session is closed,
and a process that belongs to the worker ends. If the loop comes back meanwhile, both may write
the same attempt: the fence lets one of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import anyio

from treadle.broker.base import Broker, Clock
from treadle.domain.decide import decide
from treadle.domain.job import Record
from treadle.domain.limits import Budget, trim
from treadle.domain.outcome import Change, Happening, Interrupted, Refused, Write
from treadle.domain.retry import Rng
from treadle.errors import BrokerError
from treadle.runtime.clock import BrokerClock
from treadle.runtime.crew import Crew
from treadle.runtime.drain import DrainOrder
from treadle.runtime.ending import end_process
from treadle.runtime.leases import Leases
from treadle.runtime.report import WorkerReport
from treadle.runtime.settle import Settler

logger = logging.getLogger("treadle.beat")

_CALM_S, _LOOK_S = 0.5, 0.1
"""How often it looks before a drain was asked for, and after: an idle worker costs next to nothing."""
_AFTER_GRACE_S = 1.25
"""A loop that turns has handed everything back by then."""
_BLOCKED_S = 1.0
_SETTLE_S = 0.5
"""How long settling may take: with a broker that is away, the end of the leases must do."""


class LastResort:
    """Hands back and ends the process if a drain finds the loop blocked to the end."""

    def __init__(
        self,
        broker: Broker,
        *,
        session: str,
        crews: Sequence[Crew],
        settler: Settler,
        leases: Leases,
        order: DrainOrder,
        clock: Clock,
        broker_clock: BrokerClock,
        rng: Rng,
        report: WorkerReport,
        ends_with: Callable[[WorkerReport], int] | None,
    ) -> None:
        self._broker = broker
        self._session = session
        self._crews = crews
        self._settler = settler
        self._leases = leases
        self._order = order
        self._clock = clock
        self._broker_clock = broker_clock
        self._rng = rng
        self._report = report
        self._ends_with = ends_with

    async def watch(self, blocked_for: Callable[[], float]) -> None:
        """Wait in the heartbeat thread for a drain that the blocked loop cannot end, and end it."""
        while not self._is_over() or blocked_for() < _BLOCKED_S:
            await anyio.sleep(_CALM_S if self._order.ends is None else _LOOK_S)
            if self._order.closed.is_set():
                return
        logger.error("drain_blocked", extra={"jobs": len(self._leases.held())})
        with anyio.move_on_after(_SETTLE_S, shield=True):
            try:
                await self._settle()
            except BrokerError as error:
                logger.warning("not_closed", extra={"error": str(error)})
        if self._ends_with is not None:
            end_process(self._ends_with(self._report))

    def _is_over(self) -> bool:
        ends = self._order.ends
        return ends is not None and self._clock.monotonic() > ends + _AFTER_GRACE_S

    async def _settle(self) -> None:
        settler, slots = self._settler, [slot for crew in self._crews for slot in crew.slots]
        ended: list[tuple[Record, Happening]] = [
            (entry.record, entry.happening) for entry in (*settler.in_flight, *settler.waiting)
        ]
        running = [slot.record for slot in slots if not slot.stuck]
        ended += [(record, Interrupted()) for record in running if record is not None]
        for crew in self._crews:
            ended += [(record, Interrupted(started=False)) for record in crew.take_back()]
        await self._write(ended)
        pulse = await self._broker.heartbeat(self._session, self._leases.held())
        await self._write([(record, Interrupted(started=False)) for record in pulse.orphans])
        await self._broker.close(self._session)

    async def _write(self, ended: Sequence[tuple[Record, Happening]]) -> None:
        now, budget = self._broker_clock.now_ms(), Budget(self._broker.max_record)
        writes: list[Write] = []
        for record, happening in ended:
            write = decide(record, happening, record.job.policy, now, self._rng)
            if isinstance(write, Change):
                write = trim(write, budget)
            if not isinstance(write, Refused):
                writes.append(write)
        if writes:
            await self._broker.apply(writes)
