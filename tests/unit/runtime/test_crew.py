"""The crew that is held: everybody waits for what runs, but not for what was given up."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.support.attempts import Bench, bench
from tests.support.factories import make_head, make_job
from treadle.domain.job import Record
from treadle.domain.outcome import Happening, Outcome
from treadle.runtime.attempt import Attempt
from treadle.runtime.crew import Crew
from treadle.runtime.handlers import AnyHandler
from treadle.runtime.options import STUCK_MS
from treadle.runtime.registry import Registry
from treadle.runtime.slots import Stop

pytestmark = pytest.mark.anyio


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def time_ms(self) -> int:
        """Return the time in ms."""
        return int(self.seconds * 1000)

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return self.seconds


class Team:
    """A crew of one whose handler ends when it is let go, whatever it is asked."""

    def __init__(self, tools: Bench) -> None:
        self.clock = Clock()
        self.begun, self.let_go = anyio.Event(), anyio.Event()
        self.done: list[Happening | None] = []
        registry = Registry()

        @registry.handler("deaf")
        async def deaf() -> None:
            self.begun.set()
            with anyio.CancelScope(shield=True):
                await self.let_go.wait()

        self.crew = Crew(
            size=1,
            chain=self._innermost,
            handlers=registry.handlers,
            tools=tools.tools,
            clock=self.clock,
            admit=self._admit,
            done=lambda _, outcome: self.done.append(outcome),
        )

    async def _innermost(self, attempt: Attempt) -> Outcome:
        return await attempt.handler.run(attempt)

    def _admit(self, record: Record, handler: AnyHandler | None) -> None:
        """Let everything run."""


@asynccontextmanager
async def at_work() -> AsyncGenerator[Team]:
    """Give a team whose handler has begun."""
    async with bench() as tools, anyio.create_task_group() as tasks:
        team = Team(tools)
        tasks.start_soon(team.crew.consume, team.crew.slots[0])
        team.crew.offer([Record(job=make_job(type="deaf"), head=make_head(), created=0)])
        await team.begun.wait()
        try:
            yield team
        finally:
            team.let_go.set()
            tasks.cancel_scope.cancel()


async def test_a_held_crew_waits_until_nothing_runs() -> None:
    async with at_work() as team, anyio.create_task_group() as tasks:
        held = anyio.Event()

        async def hold() -> None:
            await team.crew.hold()
            held.set()

        tasks.start_soon(hold)
        await anyio.wait_all_tasks_blocked()
        assert not held.is_set()

        team.let_go.set()
        with anyio.fail_after(20):
            await held.wait()


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_a_held_crew_does_not_wait_for_a_handler_that_was_given_up(when: str) -> None:
    async with at_work() as team, anyio.create_task_group() as tasks:
        held = anyio.Event()

        async def hold() -> None:
            await team.crew.hold()
            held.set()

        if when == "meanwhile":
            tasks.start_soon(hold)
            await anyio.wait_all_tasks_blocked()
        team.crew.slots[0].stop(Stop.TIMEOUT, team.clock.monotonic())
        team.clock.seconds += STUCK_MS / 1000 + 1
        assert len(team.crew.mark_stuck()) == 1
        if when == "before":
            tasks.start_soon(hold)

        with anyio.fail_after(20):
            await held.wait()
        await checkpoint()
        assert len(team.done) == 1
