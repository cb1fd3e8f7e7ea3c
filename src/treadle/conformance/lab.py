"""What a case works with: a connected broker on a fresh store, hands to work with, and time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Generic, TypeVar

import anyio

from treadle.broker.base import Broker
from treadle.conformance.clock import DAY
from treadle.conformance.hand import Hand, make_job
from treadle.conformance.subject import Place, Subject
from treadle.domain.job import Job

E = TypeVar("E", bound=BaseException)

QUIET_S = 0.05


class Lab:
    """A case never asks which broker it has, and never looks inside. Time is counted in ticks."""

    def __init__(self, subject: Subject, place: Place, backend: str, stack: AsyncExitStack) -> None:
        self.subject = subject
        self.place = place
        self.broker: Broker = place.root
        self.backend = backend
        """The event loop that the case runs on, as `anyio.run` names it."""
        self.counted = False
        """Whether the case has used ticks: it may have failed because this machine was slow."""
        self._stack = stack

    @classmethod
    @asynccontextmanager
    async def open(
        cls, subject: Subject, backend: str = "asyncio", tick_ms: int | None = None
    ) -> AsyncGenerator[Lab]:
        """Give a lab on a fresh store of the subject."""
        async with subject.place(tick_ms) as place, AsyncExitStack() as stack:
            yield cls(subject, place, backend, stack)

    @property
    def tick_ms(self) -> int:
        """Return the unit of all durations that a case waits for."""
        self.counted = True
        return self.place.tick_ms

    @property
    def far_ms(self) -> int:
        """Return what is longer than any case lasts."""
        return self.place.far_ms

    async def now(self) -> int:
        """Return broker time."""
        return await self.place.now()

    async def elapse(self, ms: int) -> None:
        """Let so much time pass."""
        await self.place.elapse(ms)

    async def almost(self, ms: int) -> None:
        """Let nearly so much time pass: all but the last ms, or less where time cannot be stopped."""
        await self.place.elapse(self._almost(ms))

    async def rest(self, ms: int) -> None:
        """Let the time pass that `almost` left of as much."""
        await self.place.elapse(ms - self._almost(ms))

    async def long_while(self) -> None:
        """Let as much time pass as is to be had: a hundred days, or three ticks."""
        await self.place.elapse(100 * DAY if self.place.movable else 3 * self.tick_ms)

    async def quiet(self) -> None:
        """Let every other task of this loop come to rest."""
        await anyio.wait_all_tasks_blocked()
        if not self.place.movable:
            await anyio.sleep(QUIET_S)

    def let_time_run(self) -> None:
        """Let time pass by itself from now on, where it does not already."""
        self.place.clock.run()

    def close_to(self, value: int, wanted: int) -> bool:
        """Tell whether an instant is as wanted, or as near as a clock that runs allows."""
        return abs(value - wanted) <= self.place.slack_ms

    async def hand(self, name: str = "worker", lease_ms: int | None = None) -> Hand:
        """Open a session; its lease outlasts the case if none is given."""
        return await Hand.open(self.broker, name, lease_ms or self.place.far_ms)

    async def second(self) -> Broker:
        """Return another connected broker on the same store."""
        return await self._stack.enter_async_context(self.place.broker())

    @asynccontextmanager
    async def neighbour(self) -> AsyncGenerator[Broker]:
        """Give a connected broker on another fresh store, in another namespace."""
        async with self.subject.place() as place:
            yield place.root

    def job(self, id: str = "", **over: Any) -> Job:
        """Make a job of which only what is given matters."""
        return make_job(id, **over)

    def _almost(self, ms: int) -> int:
        return ms - 1 if self.place.movable else ms // 3


class Caught(Generic[E]):
    """Holds the error that a block had to raise."""

    error: E


@contextmanager
def raising(kind: type[E]) -> Generator[Caught[E]]:
    """Insist that the block raises an error of this kind, and keep it."""
    caught: Caught[E] = Caught()
    try:
        yield caught
    except kind as error:
        caught.error = error
        return
    raise AssertionError(f"{kind.__name__} should have been raised, and nothing was")
