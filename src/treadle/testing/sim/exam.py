"""In calm times a fleet has no excuse: what must happen at once happens at once.

Questions that a fleet in trouble cannot be asked: is a job picked up the moment it comes, is an outcome
recorded the moment there is one, does a worker that is started again under its name take over what it
left, does a drain leave nothing behind, does a cancel arrive, does a long job keep its lease.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import anyio

from treadle.domain.job import Job, Ref
from treadle.runtime.client import Client
from treadle.testing.sim.crew import Berth, Crew
from treadle.testing.sim.handlers import Stage
from treadle.testing.sim.laws import Key, Laws, Told
from treadle.testing.sim.network import Network
from treadle.testing.sim.plan import LEASE_MS, Act, Part
from treadle.testing.sim.server import Server

_LOOK_S = 0.25
_PROMPT_MS = 500
_TAKE_OVER_MS = 600
_ENOUGH_S = 40.0


class Exam:
    """Asks a fleet whose jobs are all final some questions, each with jobs of its own."""

    def __init__(
        self,
        crew: Crew,
        server: Server,
        network: Network,
        laws: Laws,
        stage: Stage,
        operator: Client,
        rng: Random,
    ) -> None:
        self._crew = crew
        self._server = server
        self._network = network
        self._laws = laws
        self._stage = stage
        self._operator = operator
        self._rng = rng

    async def run(self) -> None:
        """Ask."""
        # Late beats of sessions that are over, and starts that chaos delayed, come to an end first;
        # and a claim that a dead machine left in the server may still be given a job, once.
        await self._until(self._all_work, 20, "the workers are not all back")
        await self._until(
            lambda: not self._network.serves_the_dead(), 20, "a claim of a dead machine still waits"
        )
        self._laws.calm = True
        await self._prompt()
        questions = (self._take_over, self._drain, self._cancel, self._long)
        await self._rng.choice(questions)()
        self._laws.calm = False

    def _all_work(self) -> bool:
        return all(
            berth.worker is not None and berth.worker.started.is_set()
            for berth in self._crew.berths
        )

    async def _enqueue(self, *sleeps_s: float) -> list[Key]:
        jobs: list[Job] = []
        for sleep_s in sleeps_s:
            job = self._stage.add(Part(job=Job(id="", type=""), at_s=0, acts=(Act("ok", sleep_s),)))
            jobs.append(job)
        await self._operator.enqueue(jobs)
        return [(job.queue, job.id) for job in jobs]

    def _told(self, key: Key) -> Told:
        return self._laws.told[key]

    async def _until(self, holds: Callable[[], bool], seconds: float, otherwise: str) -> bool:
        until = anyio.current_time() + seconds
        while not holds():
            if anyio.current_time() > until:
                self._laws.violated(f"exam: {otherwise}")
                return False
            await self._laws.change(_LOOK_S)
        return True

    async def _final(self, keys: list[Key], seconds: float = _ENOUGH_S) -> bool:
        return await self._until(
            lambda: all(self._told(key).finals for key in keys),
            seconds,
            f"{[key[1] for key in keys if not self._told(key).finals][:3]} ... are not final",
        )

    async def _prompt(self) -> None:
        """Ask whether an idle fleet picks a job up at once, and records it at once."""
        await anyio.sleep(self._rng.random() * 2)
        (key,) = await self._enqueue(0.05)
        if not await self._final([key]):
            return
        told = self._told(key)
        if told.claimed - told.accepted > _PROMPT_MS:
            self._laws.violated(f"{key}: claimed after {told.claimed - told.accepted} ms")
        if told.final - told.claimed > _PROMPT_MS:
            self._laws.violated(f"{key}: recorded after {told.final - told.claimed} ms")

    async def _take_over(self) -> None:
        """Ask whether a worker that is started again under its name takes over what it left."""
        (key,) = await self._enqueue(1.0)
        if not await self._until(lambda: key[1] in self._stage.running, 5, f"{key} does not run"):
            return
        machine = self._stage.running[key[1]]
        berth = next(each for each in self._crew.berths if each.machine is machine)
        self._laws.blamed.add(self._told(key).session)
        fence = self._told(key).fence
        berth.back_s = 0.05
        machine.kill()
        await self._until(lambda: self._back(berth), 5, f"{berth.name} is not back")
        await self._until(
            lambda: self._told(key).fence != fence,
            _TAKE_OVER_MS / 1000,
            f"{key} is not taken over {_TAKE_OVER_MS} ms after the restart",
        )
        await self._final([key])

    def _back(self, berth: Berth) -> bool:
        return berth.worker is not None and berth.worker.started.is_set()

    async def _drain(self) -> None:
        """Ask whether a drain in the middle of work leaves nothing behind."""
        slots, rng = self._crew.slots, self._rng
        berth = rng.choice(self._crew.berths)
        keys = await self._enqueue(*([0.004] * (slots * 4)))
        keys += await self._enqueue(*([0.3] * slots), *([3.0] * slots), *([0.004] * (slots * 4)))
        await anyio.sleep(rng.random() * rng.choice((0.02, 0.8)))
        if rng.random() < 0.5:  # while the answer of a claim is on its way
            before = self._claims_of(berth)
            await self._laws.change(0.5)
            for _ in range(20):
                if self._claims_of(berth) > before:
                    break
                await self._laws.change(0.5)
        if berth.worker is not None and berth.machine is not None:
            machine = berth.machine
            berth.drain(rng.choice((0, 400)))
            await self._until(machine.over.is_set, 3, f"{berth.name} does not end its drain")
        await self._final(keys)

    def _claims_of(self, berth: Berth) -> int:
        return 0 if berth.worker is None else self._laws.claims.get(berth.worker.session, 0)

    async def _cancel(self) -> None:
        """Ask whether a cancel reaches the handler that runs."""
        (key,) = await self._enqueue(20.0)
        if await self._until(lambda: key[1] in self._stage.running, 5, f"{key} does not run"):
            await self._operator.cancel(Ref(*key), by="exam")
            await self._final([key], LEASE_MS / 1000 / 3 + 1)

    async def _long(self) -> None:
        """Ask whether a job that runs longer than a lease keeps it."""
        keys = await self._enqueue(LEASE_MS / 1000 * 1.3)
        await self._final(keys)
