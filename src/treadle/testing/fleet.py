"""`fleet`: an application's jobs on many simulated workers that crash, for days, in seconds.

    def test_no_mail_is_lost(fleet):
        report = fleet(jobs, enqueue_all, workers=4, crashes=20, days=7)
        assert report.lost == 0

Handlers, middleware and dependencies run for real, on virtual time, inside simulated worker processes
that are killed between any two steps; requests and replies get lost and late. One seed is one run. Sync
handlers run on the loop, since virtual time cannot wait for threads. Idle time is passed over.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, cast

import anyio
from anyio.abc import TaskGroup
from msgspec import Struct

from treadle import Jobs
from treadle.broker.base import Filter, Order
from treadle.conformance.history import History, check
from treadle.domain.job import DAY_MS, Record, Ref
from treadle.domain.outcome import Outcome
from treadle.domain.state import FINAL, State
from treadle.errors import ConfigurationError
from treadle.runtime.attempt import Attempt, Next, Tools
from treadle.runtime.client import Client
from treadle.runtime.processes import ProcessPool
from treadle.testing.sim.crew import Crew, make_options
from treadle.testing.sim.laws import Laws
from treadle.testing.sim.machine import Machine
from treadle.testing.sim.network import Network, Weather
from treadle.testing.sim.postbox import Postbox
from treadle.testing.sim.server import Server
from treadle.testing.sim.trace import Trace
from treadle.testing.sim.world import quiet
from treadle.testing.standins import Inline, make_client, stand_in
from treadle.testing.virtual import OWNER, SeededLoop

Load = Callable[[], Awaitable[object]]
"""Enqueues the jobs of a run."""

_LOOK_S = 0.5
_LEASE_MS = 15_000
_SOON_MS = 4_000
"""Idle time shorter than this is waited for, so that workers that start again are there in time."""
_PAGE = 1_000


class FleetReport(Struct, frozen=True, kw_only=True):
    """What came of a run."""

    seed: int
    jobs: int
    """How many jobs were enqueued, by the load and by handlers."""
    attempts: int
    crashes: int
    """How many workers were killed."""
    restarts: int
    """How many workers were started again."""
    lost: int
    """How many accepted jobs are gone; 0, or Treadle has a bug."""
    unfinished: tuple[str, ...]
    """The ids of jobs that were not final when the days were over."""
    states: dict[str, int]
    """How many jobs ended in each state."""
    dead: dict[str, int]
    """Of those that are dead, how many for each reason."""
    problems: tuple[str, ...]
    """What the laws of simulations and histories found; empty, or Treadle has a bug."""
    days: float
    """How much time passed for the fleet."""
    trace: str


class Fleet:
    """Runs applications on simulated fleets; the same seed gives the same run."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __call__(
        self,
        jobs: Jobs,
        load: Load,
        *,
        workers: int = 4,
        crashes: int = 20,
        days: float = 7,
        slots: int = 4,
        faults: float = 0.01,
        seed: int | None = None,
    ) -> FleetReport:
        """Call `load` once, then run workers until everything is final or `days` are over.

        `crashes` workers are killed while there is work; `faults` is the probability that a
        request or a reply gets lost. It blocks, and may be called inside of an event loop too.
        """
        if workers < 1 or days <= 0:
            raise ConfigurationError(
                f"fleet(workers={workers}, days={days}): both must be positive"
            )
        chosen = self.seed if seed is None else seed
        run = _FleetRun(
            jobs, load, Random(chosen), workers=workers, crashes=crashes, days=days, slots=slots
        )
        run.weather = Weather(lost_request=faults, lost_reply=faults, patience_s=5.0)
        _in_thread(run.main, Random(chosen))
        return run.report(chosen)


def _in_thread(main: Callable[[], Awaitable[None]], rng: Random) -> None:
    """Run `main` on a loop of its own, whatever runs in this thread."""
    raised: list[BaseException] = []
    options: dict[str, Any] = {"loop_factory": lambda: SeededLoop(rng)}

    def work() -> None:
        try:
            with quiet():
                anyio.run(main, backend="asyncio", backend_options=options)
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            raised.append(error)

    thread = threading.Thread(target=work, name="treadle-fleet")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


class _OwnClient:
    """The client of whatever simulated process asks for it."""

    def __init__(self, make: Callable[[Machine], Client]) -> None:
        self._make = make
        self._clients: dict[Machine, Client] = {}

    def __getattr__(self, name: str) -> Any:
        machine = OWNER.get()
        assert isinstance(machine, Machine)  # noqa: S101 - all code of a run has a process
        if machine not in self._clients:
            self._clients[machine] = self._make(machine)
        return getattr(self._clients[machine], name)


class _FleetRun:
    """One run of one application."""

    def __init__(
        self,
        jobs: Jobs,
        load: Load,
        rng: Random,
        *,
        workers: int,
        crashes: int,
        days: float,
        slots: int,
    ) -> None:
        self.weather = Weather()
        self._jobs = jobs
        self._load = load
        self._rng = rng
        self._workers = workers
        self._crashes = crashes
        self._days = days
        self._slots = slots
        self._killed = 0
        self._began = 0
        self._trace = Trace()
        self._history = History()
        self._records: list[Record] = []
        self._inline = Inline(1)
        self._processes = ProcessPool(1)
        self._laws: Laws
        self._server: Server
        self._crew: Crew
        self._network: Network

    async def main(self) -> None:
        """Load, run, and look at what came of it."""
        postbox = Postbox()
        async with anyio.create_task_group() as tasks:
            self._build(postbox, tasks)
            tasks.start_soon(postbox.run)
            producer = self._crew.machine("producer")
            using = self._jobs.using(
                broker=self._crew.broker(producer),
                client=cast("Client", _OwnClient(self._client)),
                clock=self._server.clock,
            )
            try:
                with using:
                    await self._enqueue(producer, tasks)
                    self._network.weather = self.weather
                    self._crew.start()
                    tasks.start_soon(self._crash)
                    await self._until_final()
                    self._records = self._all_records()
                    await self._crew.broker(self._crew.machine("judge")).scan()
            finally:
                self._trace.closed = True
                for machine in self._crew.machines:
                    machine.vanish()
                tasks.cancel_scope.cancel()

    def report(self, seed: int) -> FleetReport:
        """Say what came of it."""
        final = [told for told in self._laws.told.values() if told.finals]
        dead = Counter(told.reason for told in final if told.ends == "dead")
        known = {(record.job.queue, record.job.id) for record in self._records}
        return FleetReport(
            seed=seed,
            jobs=len(self._laws.told),
            attempts=self._laws.starts,
            crashes=self._killed,
            restarts=self._crew.starts - self._workers,
            lost=sum(key not in known and not told.finals for key, told in self._laws.told.items()),
            unfinished=tuple(r.job.id for r in self._records if r.head.state not in FINAL),
            states=dict(Counter(told.ends for told in final)),
            dead=dict(dead),
            problems=(*self._laws.violations, *map(str, check(self._history.calls))),
            days=self._passed_ms() / DAY_MS,
            trace=self._trace.text(),
        )

    def _build(self, postbox: Postbox, tasks: TaskGroup) -> None:
        rng = self._rng
        self._laws = laws = Laws(self._now_ms)
        self._server = server = Server(postbox, Random(rng.random()), laws.see)
        server.on_failure = laws.violated
        server.logs = False
        self._network = Network(server, postbox, Random(rng.random()), self._trace, self._history)
        queues = tuple(sorted({each.queue for each in self._jobs.handlers.values()} | {"default"}))
        self._crew = Crew(
            network=self._network,
            history=self._history,
            trace=self._trace,
            rng=Random(rng.random()),
            tasks=tasks,
            now=postbox.now,
            registry=stand_in(self._jobs, self._inside),
            options=make_options(queues, self._slots, _LEASE_MS),
            size=self._workers,
            failed=laws.violated,
        )

    def _client(self, machine: Machine) -> Client:
        return make_client(self._jobs, lambda: self._crew.broker(machine), self._server.clock)

    async def _inside(self, attempt: Attempt, call_next: Next) -> Outcome:
        """Run sync code on the loop, and let the laws see what a handler does."""
        tools, job = attempt.tools, attempt.job
        lease = (job.queue, job.id, attempt.lease.fence)
        ref = Ref(job.queue, job.id)
        attempt.tools = Tools(
            clock=tools.clock,
            notes=tools.notes,
            threads=self._inline,
            processes=self._processes,
            worker=tools.worker,
        )
        self._history.note_run(ref, attempt.lease.fence, begins=True)
        self._laws.started(lease, attempt.number)
        outcome = await call_next(attempt)
        self._history.note_run(ref, attempt.lease.fence, begins=False)
        self._laws.ended(lease, outcome, 0)
        return outcome

    async def _enqueue(self, producer: Machine, tasks: TaskGroup) -> None:
        done = anyio.Event()

        async def load() -> None:
            OWNER.set(producer)
            await self._load()
            done.set()

        tasks.start_soon(load)
        await done.wait()

    async def _crash(self) -> None:
        """Kill workers, as long as there is work, until there were crashes enough."""
        while self._killed < self._crashes:
            await anyio.sleep(self._rng.random() * 2)
            living = [b for b in self._crew.living() if b.worker is not None]
            if self._laws.held and any(self._laws.held.values()) and living:
                machine = self._rng.choice(living).machine
                if machine is not None and machine.steps_to_live is None:
                    machine.steps_to_live = self._rng.randrange(40)
                    self._killed += 1

    def _now_ms(self) -> int:
        return self._server.clock.time_ms()

    def _passed_ms(self) -> int:
        return self._now_ms() - self._began

    async def _until_final(self) -> None:
        self._began = self._server.clock.time_ms()
        until = round(self._days * DAY_MS)
        while self._passed_ms() < until:
            waiting = [r for r in self._all_records() if r.head.state not in FINAL]
            if not waiting:
                return
            now = self._server.clock.time_ms()
            due = min(
                (now if r.head.state is State.RUNNING else r.head.due for r in waiting),
                default=now,
            )
            idle_ms = min(due - now - _SOON_MS, until - self._passed_ms())
            if idle_ms > 0:
                self._trace.add(anyio.current_time(), "fleet", f"passes over {idle_ms} ms")
                self._server.skip(idle_ms)
            await anyio.sleep(_LOOK_S)

    def _all_records(self) -> list[Record]:
        found: list[Record] = []
        cursor: str | None = None
        while True:
            page = self._server.look("find", Filter(), Order.OLDEST, cursor, _PAGE)
            found += page.records
            cursor = page.cursor
            if cursor is None:
                return found
