"""What goes wrong, and when: one task for each kind of trouble, at times that the seed says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

import anyio
from anyio.abc import TaskGroup

from treadle.domain.job import DAY_MS, Ref
from treadle.errors import TreadleError
from treadle.runtime.client import Client
from treadle.testing.sim.crew import Berth, Crew
from treadle.testing.sim.laws import Laws
from treadle.testing.sim.machine import Life
from treadle.testing.sim.plan import LEASE_MS, Plan
from treadle.testing.sim.server import Server
from treadle.testing.sim.trace import Trace

_JUMPS_MS = (-DAY_MS, -3_600_000, 3_600_000, DAY_MS)


class Chaos:
    """Troubles a fleet as its plan says; `run` ends when the last trouble is over."""

    def __init__(
        self,
        plan: Plan,
        *,
        crew: Crew,
        server: Server,
        laws: Laws,
        operator: Client,
        trace: Trace,
        rng: Random,
        on_trio: bool,
    ) -> None:
        self._plan = plan
        self._crew = crew
        self._server = server
        self._laws = laws
        self._operator = operator
        self._trace = trace
        self._rng = rng
        self._on_trio = on_trio

    async def run(self, tasks: TaskGroup) -> None:
        """Make trouble."""
        plan = self._plan
        kinds: tuple[tuple[int, Callable[[], Awaitable[None]]], ...] = (
            (plan.kills, self._kill),
            (plan.stops, self._stop),
            (plan.jumps, self._jump),
            (plan.crashes, self._crash),
            (plan.drains, self._drain),
            (plan.cancels, self._cancel),
            (plan.retries, self._retry),
            (plan.pauses, self._pause),
        )
        for number, trouble in kinds:
            for _ in range(number):
                tasks.start_soon(self._later, self._rng.random() * plan.lasts_s, trouble)
        await anyio.sleep(plan.lasts_s)

    async def _later(self, delay_s: float, trouble: Callable[[], Awaitable[None]]) -> None:
        await anyio.sleep(delay_s)
        try:
            await trouble()
        except TreadleError as error:
            self._tell("in vain", error)

    def _tell(self, what: str, value: object = "") -> None:
        self._trace.add(anyio.current_time(), "chaos", what, value)

    def _some(self) -> Berth | None:
        living = self._crew.living()
        return self._rng.choice(living) if living else None

    async def _kill(self) -> None:
        """Let a process die, now or after some more steps."""
        berth = self._some()
        if berth is None or berth.machine is None:
            return
        machine = berth.machine
        if self._on_trio:
            machine.calls_to_live = self._rng.randint(1, 12)
        else:
            machine.steps_to_live = int(self._rng.expovariate(1 / 60))

    async def _stop(self) -> None:
        """Let a process stand still, perhaps for longer than its lease, and then go on."""
        berth = self._some()
        if berth is None or berth.machine is None:
            return
        machine = berth.machine
        pause_s = LEASE_MS / 1000 * self._rng.uniform(0.2, 2.5)
        self._tell("stops", machine.name)
        machine.stop()
        await anyio.sleep(pause_s)
        if machine.life is Life.STANDS_STILL:
            self._tell("lets go on", machine.name)
        machine.go_on()

    async def _jump(self) -> None:
        """Set a process's wall clock wrong."""
        berth = self._some()
        if berth is None or berth.machine is None:
            return
        berth.skew_ms = self._rng.choice(_JUMPS_MS)
        self._tell("sets the clock of", f"{berth.machine.name} by {berth.skew_ms} ms")
        berth.machine.skew_ms = berth.skew_ms

    async def _crash(self) -> None:
        """Let the broker die and come back."""
        if self._server.down:
            return
        down_s = self._rng.choice((0.05, 1.0, 4.0)) * self._rng.random()
        forgotten = self._server.crash(down_s)
        self._tell("kills the broker", f"for {down_s:.3f} s, {forgotten} writes are forgotten")

    async def _drain(self) -> None:
        """Ask a worker to end, sometimes twice."""
        berth = self._some()
        if berth is None or berth.worker is None:
            return
        self._tell("drains", berth.name)
        berth.drain(self._rng.choice((None, 0, 500, 2_000)))
        if self._rng.random() < 0.2:
            await anyio.sleep(self._rng.random())
            berth.drain(0)

    def _any_job(self) -> Ref | None:
        known = sorted(self._laws.told)
        return Ref(*self._rng.choice(known)) if known else None

    async def _cancel(self) -> None:
        """Cancel any job."""
        ref = self._any_job()
        if ref is not None:
            self._tell("cancels", ref)
            await self._operator.cancel(ref, by="chaos")

    async def _retry(self) -> None:
        """Start a new run of any job that is final."""
        final = sorted(key for key, told in self._laws.told.items() if told.finals)
        if final:
            ref = Ref(*self._rng.choice(final))
            self._tell("retries", ref)
            await self._operator.retry(ref, by="chaos")

    async def _pause(self) -> None:
        """Pause a queue for a while; it is resumed in any case."""
        broker = await self._operator.broker()
        self._tell("pauses", "slow")
        with suppress(TreadleError):  # it may be paused all the same
            await broker.pause("slow", True)
        await anyio.sleep(self._rng.random() * 2)
        while True:
            try:
                await broker.pause("slow", False)
            except TreadleError:
                await anyio.sleep(0.5)
            else:
                return
