"""The processes of a run: workers that are started again when they die, and who enqueues and operates."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import anyio
from anyio.abc import TaskGroup
from msgspec import structs

from treadle.conformance.history import History, Recorder
from treadle.domain.selection import Ordered
from treadle.errors import TreadleError
from treadle.runtime.client import Client
from treadle.runtime.client.ending import plain_json
from treadle.runtime.options import WorkerOptions
from treadle.runtime.registry import Registry
from treadle.runtime.worker import Worker
from treadle.testing.sim.broker import SimBroker
from treadle.testing.sim.machine import Machine
from treadle.testing.sim.network import Network
from treadle.testing.sim.trace import Trace
from treadle.testing.virtual import OWNER


class Berth:
    """A place for one worker process: who is in it now."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lives = 0
        self.machine: Machine | None = None
        self.worker: Worker | None = None
        self.back_s: float | None = None
        """How long until the next start; None = the crew decides."""
        self.session_name = name
        """The name of the session that runs here, or ran last."""
        self.closed = False
        """Nobody is started here any more."""
        self.drained = False
        """The worker was asked to end."""
        self.skew_ms = 0

    def drain(self, grace_ms: int | None = None) -> None:
        """Ask the worker to end, if there is one."""
        if self.worker is not None:
            self.drained = True
            self.worker.drain(grace_ms)

    def is_closed(self) -> bool:
        """Tell whether nobody shall be started here any more."""
        return self.closed


class Crew:
    """Keeps `size` workers running until told otherwise."""

    def __init__(
        self,
        *,
        network: Network,
        history: History,
        trace: Trace,
        rng: Random,
        tasks: TaskGroup,
        now: Callable[[], float],
        registry: Registry,
        options: WorkerOptions,
        size: int,
        failed: Callable[[str], None],
        on_trio: bool = False,
    ) -> None:
        self.berths = [Berth(f"w{n + 1}") for n in range(size)]
        self.machines: list[Machine] = []
        """Everybody who ever lived."""
        self.starts = 0
        self.calm = False
        self.on_death: Callable[[Machine], None] = lambda _: None
        self._network = network
        self._history = history
        self._trace = trace
        self._rng = rng
        self._tasks = tasks
        self._now = now
        self._registry = registry
        self._options = options
        self.slots = options.concurrency
        self._failed = failed
        self._on_trio = on_trio
        self._clients: dict[Machine, Client] = {}

    def start(self) -> None:
        """Start every worker."""
        for berth in self.berths:
            self._tasks.start_soon(self._keep, berth)

    def machine(self, name: str, skew_ms: int = 0) -> Machine:
        """Make a process."""
        machine = Machine(name, self._now, held_by_loop=not self._on_trio)
        machine.skew_ms = skew_ms
        machine.on_death = lambda: self._died(machine)
        self.machines.append(machine)
        return machine

    def broker(self, machine: Machine) -> Recorder:
        """Make a connection of a process, whose calls are recorded."""
        return Recorder(SimBroker(self._network, lambda: machine), self._history)

    def client(self, machine: Machine) -> Client:
        """Return the client of a process."""
        client = self._clients.get(machine)
        if client is None:
            client = self._clients[machine] = Client(
                lambda: self.broker(machine),
                clock=machine,
                rng=Random(self._rng.random()),
                decode=plain_json,
            )
        return client

    def living(self) -> list[Berth]:
        """Return the berths in which a worker lives, standing still or not."""
        return [berth for berth in self.berths if berth.machine is not None]

    async def _keep(self, berth: Berth) -> None:
        while not berth.is_closed():
            berth.lives += 1
            machine = self.machine(f"{berth.name}.{berth.lives}", berth.skew_ms)
            berth.machine = machine
            self._tasks.start_soon(self._live, berth, machine)
            await machine.over.wait()
            berth.machine = berth.worker = None
            if berth.is_closed():
                return
            await anyio.sleep(self._back_s(berth))

    def _back_s(self, berth: Berth) -> float:
        rng = self._rng
        given, berth.back_s = berth.back_s, None
        if given is not None:
            return given
        if not self.calm and rng.random() < 0.3:
            berth.session_name = f"{berth.name}.{berth.lives + 1}"
        return 0.05 if self.calm else 0.05 + rng.random() * rng.choice((0.1, 1, 2))

    async def _live(self, berth: Berth, machine: Machine) -> None:
        """Run one worker in the name of its machine, until it ends or the machine dies."""
        OWNER.set(machine)
        self.starts += 1
        berth.drained = False
        now = self._now
        self._trace.add(now(), machine.name, "starts", berth.session_name)
        with machine.scope:
            try:
                berth.worker = worker = Worker(
                    registry=self._registry,
                    broker_factory=lambda: self.broker(machine),
                    options=structs.replace(self._options, name=berth.session_name),
                    clock=machine,
                    rng=Random(self._rng.random()),
                )
                await worker.run()
                self._trace.add(now(), machine.name, "ends")
                if not berth.drained and not self._trace.closed:
                    self._failed(f"{machine.name}: the worker ended, and nobody had asked it to")
            except TreadleError as error:
                self._trace.add(now(), machine.name, "exits", error)
            except Exception as error:  # noqa: BLE001 - whatever it is, the runtime let it through
                if not self._trace.closed:
                    self._failed(f"{machine.name}: the worker ended by {error!r}")
        machine.over.set()

    def _died(self, machine: Machine) -> None:
        self._trace.add(self._now(), machine.name, "dies")
        self.on_death(machine)


def make_options(queues: tuple[str, ...], slots: int, lease_ms: int) -> WorkerOptions:
    """Make the options of simulated workers: leases as long as asked for, all else in proportion."""
    return WorkerOptions(
        selection=Ordered(queues),
        concurrency=slots,
        grace_ms=lease_ms // 2,
        lease_ms=lease_ms,
        beat_ms=lease_ms // 3,
        sweep_ms=max(lease_ms // 4, 500),
        purge_ms=lease_ms * 2,
        beat_in_thread=False,
    )
