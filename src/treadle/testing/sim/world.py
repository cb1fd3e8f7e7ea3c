"""One seed, one run: a fleet in trouble, then in calm, and what is to be said of it."""

from __future__ import annotations

import gc
import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Any

import anyio
from anyio.abc import TaskGroup
from msgspec import Struct

from treadle.conformance.history import History, check
from treadle.errors import NotAccepted, Uncertain
from treadle.runtime.client import Client
from treadle.testing.sim.chaos import Chaos
from treadle.testing.sim.crew import Crew, make_options
from treadle.testing.sim.exam import Exam
from treadle.testing.sim.handlers import Stage
from treadle.testing.sim.laws import Key, Laws
from treadle.testing.sim.machine import Machine
from treadle.testing.sim.network import Network, Weather
from treadle.testing.sim.plan import KEY, LEASE_MS, QUEUES, Part, Plan, plan
from treadle.testing.sim.postbox import Postbox
from treadle.testing.sim.server import Server
from treadle.testing.sim.trace import Trace
from treadle.testing.virtual import OWNER, SeededLoop, seeded_trio

_LOOK_S = 0.5
_PATIENCE_S = 150.0
"""How long after the last trouble every job must be final."""
_END_S = 30.0


class Run(Struct, kw_only=True):
    """What came of one seed."""

    seed: int
    backend: str
    violations: tuple[str, ...]
    trace: Trace
    seconds: float = 0.0
    """Virtual time that it took."""
    jobs: int = 0
    starts: int = 0
    """How many attempts were started."""
    lives: int = 0
    """How many worker processes there were."""
    lost: int = 0
    """How many attempts were declared lost."""
    faults: Mapping[str, int] = {}


def run(seed: int, *, backend: str = "asyncio", jobs: int = 20) -> Run:
    """Run one seed; the same seed gives the same trace, byte for byte."""
    world = World(plan(seed, jobs), on_trio=backend == "trio")
    with quiet(), _uncollected():
        if backend == "trio":
            with seeded_trio(seed) as clock:
                anyio.run(world.main, backend="trio", backend_options={"clock": clock})
        else:
            rng = Random(seed ^ 0x5EED)
            options: dict[str, Any] = {"loop_factory": lambda: SeededLoop(rng)}
            anyio.run(world.main, backend="asyncio", backend_options=options)
    return world.result(backend)


@contextmanager
def _uncollected() -> Generator[None]:
    """Collect no garbage meanwhile: a run is short, and when it happens is no matter of its seed."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def quiet() -> Generator[None]:
    """Keep the workers' own warnings away: outages are the point of the run, thousands of times."""
    logger = logging.getLogger("treadle")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


class World:
    """Everything of one run."""

    def __init__(self, plan: Plan, *, on_trio: bool) -> None:
        self.plan = plan
        self.trace = Trace()
        self._on_trio = on_trio
        self.history = History()
        self._seconds = 0.0
        self._producing = 0
        """How many jobs are not yet enqueued, or given up."""
        self._rng: Random
        self._laws: Laws
        self._server: Server
        self._network: Network
        self._crew: Crew
        self._stage: Stage

    async def main(self) -> None:
        """Run, read what the store holds at the end, and end what is left."""
        postbox = Postbox()
        async with anyio.create_task_group() as tasks:
            self._build(postbox, Random(self.plan.seed + 1), tasks)
            tasks.start_soon(postbox.run)
            try:
                await self._play(tasks)
            finally:
                self._seconds = anyio.current_time()
                self.trace.closed = True
                for machine in self._crew.machines:
                    machine.vanish()
                tasks.cancel_scope.cancel()

    async def _play(self, tasks: TaskGroup) -> None:
        plan, rng = self.plan, self._rng
        operator = self._crew.client(self._crew.machine("operator"))
        await (await operator.broker()).set_limit(KEY, 1)
        self._network.weather = plan.weather
        self._crew.start()
        chaos = Chaos(
            plan,
            crew=self._crew,
            server=self._server,
            laws=self._laws,
            operator=operator,
            trace=self.trace,
            rng=Random(rng.random()),
            on_trio=self._on_trio,
        )
        producer = self._crew.machine("producer")
        for part in plan.parts:
            self._producing += 1
            tasks.start_soon(self._produce, producer, part)
        await chaos.run(tasks)
        await self._calm_down()
        await self._until_final(operator)
        if not self._laws.violations:
            crew, server, network = self._crew, self._server, self._network
            exam = Exam(crew, server, network, self._laws, self._stage, operator, rng)
            await exam.run()
            await self._end_workers()
        judge = self._crew.broker(self._crew.machine("judge"))
        await judge.scan()

    def result(self, backend: str) -> Run:
        """Return what came of it."""
        return Run(
            seed=self.plan.seed,
            backend=backend,
            violations=self._broken(),
            trace=self.trace,
            seconds=self._seconds,
            jobs=len(self._laws.told),
            starts=self._laws.starts,
            lives=self._crew.starts,
            lost=self._laws.deaths,
            faults=self._network.faults,
        )

    def _build(self, postbox: Postbox, rng: Random, tasks: TaskGroup) -> None:
        plan = self.plan
        self._rng = rng
        self._laws = laws = Laws(self._now_ms)
        self._server = server = Server(postbox, Random(rng.random()), laws.see)
        server.on_failure = laws.violated
        server.on_crash = laws.forget
        server.logs = plan.crashes > 0
        server.everysec = plan.everysec
        server.sync_s = 0.2 if plan.slow_sync else 0.001
        self._network = Network(server, postbox, Random(rng.random()), self.trace, self.history)
        parts = dict(enumerate(plan.parts))
        self._stage = Stage(parts, laws, self.history, self._where)
        self._crew = Crew(
            network=self._network,
            history=self.history,
            trace=self.trace,
            rng=Random(rng.random()),
            tasks=tasks,
            now=postbox.now,
            registry=self._stage.registry,
            options=make_options(QUEUES, plan.slots, LEASE_MS),
            size=plan.workers,
            failed=laws.violated,
            on_trio=self._on_trio,
        )

    def _now_ms(self) -> int:
        return self._server.clock.time_ms()

    def _where(self) -> Machine:
        machine = OWNER.get()
        assert isinstance(machine, Machine)  # noqa: S101 - handlers run in workers
        return machine

    async def _produce(self, machine: Machine, part: Part) -> None:
        """Enqueue a job as a user's process would: again if nobody knows."""
        OWNER.set(machine)
        await anyio.sleep(part.at_s)
        client = self._crew.client(machine)
        for wait_s in (0.5, 0.5, 0.5, 0):
            try:
                await client.enqueue([part.job])
            except Uncertain:
                await anyio.sleep(wait_s)
            except NotAccepted:
                break
            else:
                break
        self._producing -= 1

    async def _calm_down(self) -> None:
        """End all trouble, and wait for what is still on its way."""
        self._tell("calm")
        late_s = self.plan.weather.late_s
        self._network.weather = Weather(patience_s=late_s + 30)
        self._crew.calm = True
        for berth in self._crew.berths:
            if berth.machine is not None:
                berth.machine.go_on()
                berth.machine.steps_to_live = berth.machine.calls_to_live = None

    async def _until_final(self, operator: Client) -> None:
        until = anyio.current_time() + _PATIENCE_S
        while self._producing or self._network.in_flight_late or self._server.down:
            await self._laws.change(_LOOK_S)
        # A late message may have paused it again.
        await (await operator.broker()).pause("slow", False)
        while self._unfinished():
            if anyio.current_time() > until:
                break
            await self._laws.change(_LOOK_S)
        else:
            self._tell("all final")
        for queue, job_id in self._unfinished():
            self._laws.violated(
                f"{job_id} of queue {queue}: not final {_PATIENCE_S:g} s after the last trouble"
            )

    def _unfinished(self) -> list[Key]:
        return [key for key, told in self._laws.told.items() if not told.finals]

    async def _end_workers(self) -> None:
        for berth in self._crew.berths:
            berth.closed = True
            berth.drain()
        with anyio.move_on_after(_END_S):
            for berth in self._crew.living():
                if berth.machine is not None:
                    await berth.machine.over.wait()
            return
        self._laws.violated("a worker does not end though it was drained in calm times")

    def _broken(self) -> tuple[str, ...]:
        """Say what broke the laws: those of the runtime, and those of histories."""
        found = list(self._laws.violations)
        if not self.plan.everysec:  # else what was acknowledged last may be forgotten
            bound_ms = round((self.plan.lasts_s + self.plan.weather.late_s + _PATIENCE_S) * 1000)
            found += map(str, check(self.history.calls, drained=True, bound_ms=bound_ms))
        return tuple(found)

    def _tell(self, what: str) -> None:
        self.trace.add(anyio.current_time(), "world", what)
