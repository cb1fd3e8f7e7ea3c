"""The broker to be proven, and fresh stores of it whose time passes as the kit needs.

A broker that takes its time from the clock it is given can be moved by hours in no time. One that
shows the time of its server cannot: there the kit counts in short ticks and really waits.
"""

from __future__ import annotations

import importlib.util
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cached_property

import anyio

from treadle.broker.base import Broker, Clock
from treadle.broker.url import BrokerUrl, parse, with_namespace
from treadle.conformance.clock import DAY, HOUR, MINUTE, MovableClock
from treadle.errors import ConfigurationError
from treadle.plugins import Plugins
from treadle.runtime.clock import SystemClock

Make = Callable[[BrokerUrl, Clock], Broker]
Restart = Callable[[], Awaitable[None]]

SHORT_TICK_MS = 200
"""What a case counts in where it really has to wait."""
WIGGLE_MS = 2_000
"""How far an instant may be off where time cannot be stopped; durations checked so are far longer."""
CLEAN_UP_S = 5.0


class Place:
    """One fresh store and its time."""

    def __init__(
        self, root: Broker, clock: MovableClock, *, movable: bool, tick_ms: int, slack_ms: int
    ) -> None:
        self.root = root
        """A connected broker on the store; it is disconnected when the store is erased."""
        self.clock = clock
        """Given to every broker made here; it decides nothing if the store has a clock of its own."""
        self.movable = movable
        self.tick_ms = tick_ms
        """The unit in which cases count."""
        self.far_ms = 365 * DAY if movable else HOUR
        """Longer than any case lasts."""
        self.slack_ms = slack_ms
        """How far an instant may be off; 0 where time stands still."""

    def broker(self) -> Broker:
        """Make a new unconnected broker on the store."""
        return self.root.another()

    async def elapse(self, ms: int) -> None:
        """Let so much time pass: move the clock, or really wait."""
        if self.movable:
            self.clock.advance(ms)
        else:
            await anyio.sleep((ms + 5) / 1_000)

    async def now(self) -> int:
        """Return the time that the store should have."""
        return self.clock.time_ms() if self.movable else (await self.root.apply([])).now


class Subject:
    """A broker to be proven: how to make one, and what is known about it.

    `make` is for brokers that no installed plugin supplies; `restart` restarts the server where
    there is one, and returns when it can be connected to again, within a minute: all that was
    answered before must be there afterwards, and clients connect anew; `backends` are the event
    loops to prove it on, None for all that it runs on; `slack_ms` is added to what a clock that
    cannot be moved may be off; `movable` says whether time comes from the clock that the broker is
    given, None to find it out.
    """

    def __init__(
        self,
        url: str,
        *,
        make: Make | None = None,
        restart: Restart | None = None,
        backends: tuple[str, ...] | None = None,
        slack_ms: int = 0,
        movable: bool | None = None,
    ) -> None:
        self.url = url
        self.restart = restart
        self._backends = backends
        self.slack_ms = slack_ms
        self.movable = movable
        # One object for all stores: looking through the installed plugins takes its time.
        self._make: Make = make or Plugins().make_broker

    def __str__(self) -> str:
        return str(parse(self.url))

    def make(self, url: str, clock: Clock) -> Broker:
        """Make an unconnected broker for a URL of the kind of the subject's own."""
        return self._make(parse(url), clock)

    @cached_property
    def backends(self) -> tuple[str, ...]:
        """Return the event loops to prove it on.

        Raises:
            ConfigurationError: if the broker does not run on one of them.
        """
        own = self.make(self.url, MovableClock()).backends
        for name in self._backends or ():
            if name not in own:
                raise ConfigurationError(f"{self} does not run on {name}, only on {', '.join(own)}")
        return self._backends or own

    def installed_backends(self) -> list[str]:
        """Return those of its event loops that are there."""
        return [name for name in self.backends if importlib.util.find_spec(name) is not None]

    @asynccontextmanager
    async def place(self, tick_ms: int | None = None) -> AsyncGenerator[Place]:
        """Give a fresh store in a namespace of its own; it is erased at the end.

        `tick_ms` replaces the unit in which cases count; only where they really wait.
        """
        clock = MovableClock()
        root = self.make(with_namespace(self.url, f"kit-{secrets.token_hex(6)}"), clock)
        done = False
        try:
            await root.connect()
            yield await self._place(root, clock, tick_ms or SHORT_TICK_MS)
            done = True
        finally:
            # What broke the body is worth more than what breaks here afterwards.
            await _clean_up(root, quietly=not done)

    async def _place(self, root: Broker, clock: MovableClock, tick_ms: int) -> Place:
        movable = self.movable
        if movable is None:
            movable = (await root.apply([])).now == clock.time_ms()
        if movable:
            return Place(root, clock, movable=True, tick_ms=MINUTE, slack_ms=0)
        clock.jump(SystemClock().time_ms() - clock.time_ms())
        clock.run()
        return Place(
            root, clock, movable=False, tick_ms=tick_ms, slack_ms=WIGGLE_MS + self.slack_ms
        )


async def _clean_up(root: Broker, *, quietly: bool) -> None:
    with anyio.move_on_after(CLEAN_UP_S, shield=True) as scope:
        try:
            await root.erase()
        except Exception:
            if not quietly:
                raise
    if scope.cancelled_caught and not quietly:
        raise TimeoutError(f"{root.url}: erase() did not return within {CLEAN_UP_S:g} s")
