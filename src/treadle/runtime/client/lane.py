"""What a client keeps for one event loop: a broker of its own, and who shares its calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

import anyio
from anyio.lowlevel import RunVar

from treadle.broker.base import Broker, Clock, Durability
from treadle.broker.loop import LoopHandle
from treadle.errors import BrokerRefused
from treadle.runtime.client.flights import Flights
from treadle.runtime.client.watch import Watch
from treadle.runtime.clock import BrokerClock
from treadle.runtime.owner import unowned

_DISCONNECT_S: Final = 5.0
_STRENGTH: Final = tuple(Durability)
_KEEPERS: RunVar[set[AsyncGenerator[None, None]]] = RunVar("treadle_keepers")
"""What each event loop keeps until its end: a generator left to the garbage collector ends nowhere."""


class Lane:
    """One event loop's way to the broker; connects when it is first needed."""

    def __init__(
        self,
        broker: Broker,
        *,
        clock: Clock,
        broker_clock: BrokerClock,
        timeout_s: float,
        durability: Durability | None,
    ) -> None:
        self.clock = broker_clock
        self.flights = Flights(self.broker, timeout_s, clock, self.synced)
        self.watch = Watch(self.broker)
        self.has_time = False
        """The clock follows a reply of the broker, not this machine's wall clock."""
        self._loop = LoopHandle()
        self._broker = broker
        self._durability = durability
        self._connected = False
        self._connecting = anyio.Lock()
        self._keeper: AsyncGenerator[None, None] | None = None

    @property
    def is_alive(self) -> bool:
        """Tell whether its event loop still runs."""
        return self._loop.post(_nothing)

    def synced(self, now_ms: int) -> None:
        """Take over the broker's time."""
        self.has_time = True
        self.clock.sync(now_ms)

    async def broker(self) -> Broker:
        """Return the connected broker.

        Raises:
            BrokerUnavailable: if it cannot be reached.
            BrokerRefused: if it must not be used, or promises less than was asked for.
        """
        if not self._connected:
            async with self._connecting:
                if not self._connected:
                    await self._connect()
        return self._broker

    async def close(self) -> None:
        """Disconnect. Calling twice is harmless, and the next call connects again."""
        keeper = self._keeper
        if keeper is not None:
            await keeper.aclose()

    async def _connect(self) -> None:
        with unowned():  # the job that connects first may end long before the last call
            await self._broker.connect()
        if self._durability is not None:
            try:
                await refuse_weaker(self._broker, self._durability)
            except BaseException:
                await self._disconnect()
                raise
        self._connected = True
        self._keeper = self._until_the_loop_ends()
        _keepers().add(self._keeper)
        await anext(self._keeper)

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        # Event loops close the generators that are still open when they end: nobody has to
        # remember to close a client, and its threads and sockets do not outlive the loop.
        try:
            yield
        finally:
            self._connected = False
            if self._keeper is not None:
                _keepers().discard(self._keeper)  # it knows its loop, which would never go away
                self._keeper = None
            await self._disconnect()

    async def _disconnect(self) -> None:
        with anyio.move_on_after(_DISCONNECT_S, shield=True):
            await self._broker.disconnect()


def _keepers() -> set[AsyncGenerator[None, None]]:
    keepers = _KEEPERS.get(None)
    if keepers is None:
        keepers = set[AsyncGenerator[None, None]]()
        _KEEPERS.set(keepers)
    return keepers


async def refuse_weaker(broker: Broker, wanted: Durability) -> None:
    """Refuse a broker whose live settings promise less than `wanted`.

    Raises:
        BrokerRefused: saying what it promises, and what was asked for.
    """
    found = await broker.describe()
    if _STRENGTH.index(found.durability) < _STRENGTH.index(wanted):
        raise BrokerRefused(
            f"{broker.url} promises durability {found.durability.value!r}, but the setting "
            f"`durability` asks for {wanted.value!r}. `qrun doctor` says what to change."
        )


def _nothing() -> None:
    """Do nothing: whether a loop takes it tells whether it lives."""
