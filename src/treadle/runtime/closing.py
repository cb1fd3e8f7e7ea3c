"""How a shift ends: what is unstarted goes back, what runs gets the grace period, the session is closed."""

from __future__ import annotations

import logging

import anyio

from treadle.domain.job import Record
from treadle.domain.outcome import Interrupted
from treadle.errors import BrokerError
from treadle.runtime.crew import Crew, Done
from treadle.runtime.leases import Leases
from treadle.runtime.options import BATCH
from treadle.runtime.premises import Premises
from treadle.runtime.pump import Pump
from treadle.runtime.settle import Settler
from treadle.runtime.slots import Stop

logger = logging.getLogger("treadle.worker")

_CHECK_S = 0.05
_LOOK_S = 0.01
CLOSE_S = 0.5
"""How long the last settling and the end of the session may take."""
_AFTER_GRACE_S = 1.0
"""How long cancelled handlers may take to end before they are handed back anyway."""


class Closing:
    """Ends one shift: first `drain`, then, when the pump has ended, `close`.

    `done` takes every record that is handed back, as if its attempt had ended.
    """

    def __init__(
        self,
        given: Premises,
        *,
        crew: Crew,
        solo: Crew,
        pump: Pump,
        settler: Settler,
        leases: Leases,
        done: Done,
    ) -> None:
        self._name = given.name
        self._broker = given.broker
        self._session = given.session
        self._order = given.order
        self._clock = given.clock
        self._broker_clock = given.broker_clock
        self._threads = given.tools.threads
        self._crew = crew
        self._solo = solo
        self._crews = (crew, solo)
        self._pump = pump
        self._settler = settler
        self._leases = leases
        self._done = done

    async def drain(self) -> None:
        """Hand back what is unstarted, wait for what runs as long as the grace period, end the rest."""
        clock = self._clock
        began = clock.monotonic()
        for crew in self._crews:
            crew.halt()
        self._pump.stop_claiming()
        self.hand_back(self._crew.take_back() + self._solo.take_back())
        await self._take_orphans_back()
        while self._busy() and clock.monotonic() - began < self._order.grace_ms / 1000:
            with anyio.move_on_after(_CHECK_S):
                if self._order.again.is_set():
                    await anyio.sleep(_CHECK_S)
                else:
                    await self._order.again.wait()
            self.hand_back(self._crew.take_back())
        now = clock.monotonic()
        self._threads.patience = _AFTER_GRACE_S / 2  # the process must go
        for slot in (*self._crew.slots, *self._solo.slots):
            slot.stop(Stop.DRAIN, now)
        while self._busy() and clock.monotonic() - now < _AFTER_GRACE_S:  # noqa: ASYNC110 - of several ends
            await anyio.sleep(_LOOK_S)
        # What their handlers still come to is no second outcome.
        self.hand_back(self._crew.give_up() + self._solo.give_up(), started=True)
        while self._pump.unsettled and clock.monotonic() - now < _AFTER_GRACE_S:
            self._pump.notify()
            await anyio.sleep(_LOOK_S)

    async def _take_orphans_back(self) -> None:
        """Hand back what a claim took whose reply was cut off by the drain."""
        try:
            with anyio.move_on_after(CLOSE_S):
                pulse = await self._broker.heartbeat(self._session, self._leases.held())
                self.hand_back(list(pulse.orphans))
        except BrokerError as error:
            logger.warning("broker_away", extra={"duty": "drain", "error": str(error)})

    def _busy(self) -> bool:
        """Tell whether something runs that still counts, or is not settled."""
        return bool(self._pump.unsettled) or not all(crew.all_stuck for crew in self._crews)

    def hand_back(self, records: list[Record], *, started: bool = False) -> None:
        """Let others run these records; `started` says that they ran here already."""
        for record in records:
            self._done(record, Interrupted(started=started))

    async def close(self) -> None:
        """Hand back claims whose reply was never seen, settle what is left, end the session."""
        broker, session = self._broker, self._session
        try:
            await self._settle_rest()
            await self._take_orphans_back()
            await self._settle_rest()
            await broker.close(session)
        except BrokerError as error:
            logger.warning("not_closed", extra={"worker": self._name, "error": str(error)})

    async def _settle_rest(self) -> None:
        while self._settler.waiting:
            writes = self._settler.begin(BATCH, self._broker_clock.now_ms())
            if writes:
                settled = await self._broker.apply(writes)
                self._settler.answered(writes, settled.results)
