"""Many claimers at once: no job twice, none lost, whoever races with whom.

On a store that several processes can share, producers and claimers are real processes, started with
the URL of the store; elsewhere they are threads, each with its own event loop and its own broker from
`another()`. Each writes the history of its calls; the laws judge all of them together. Time is
bounded: what hangs is killed, and the report says so.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import Process
from msgspec import Struct, structs

from treadle.broker.base import Broker, Capability
from treadle.broker.url import parse
from treadle.conformance.history import Call, History, Recorder, check
from treadle.conformance.history.events import Claim, Scan, Turn
from treadle.conformance.race import ENOUGH, Orders, perform
from treadle.conformance.subject import Place, Subject
from treadle.domain.state import FINAL
from treadle.plugins import make_broker
from treadle.runtime.clock import SystemClock

PRODUCERS: Final = 2
OVERLAP: Final = 10
"""One in so many jobs is enqueued by both producers."""
_GRACE_S: Final = 3.0
_SHOWN: Final = 2_000


class ConcurrencyReport(Struct, frozen=True, kw_only=True):
    """What came of a race."""

    claimers: int
    jobs: int
    """How many were to be enqueued; those whose unique key is held are not stored."""
    processes: bool
    """Whether they were real processes; else threads."""
    calls: int = 0
    claims: int = 0
    """How many jobs the claims gave, hand-backs counted again."""
    ended: int = 0
    """How many jobs are final."""
    took_s: float = 0.0
    failures: tuple[str, ...] = ()
    """What hung, died or broke a law."""

    @property
    def passed(self) -> bool:
        """Tell whether the broker has passed."""
        return not self.failures

    def __str__(self) -> str:
        who = "processes" if self.processes else "threads"
        text = (
            f"{self.claimers} claimers in {who}: {self.jobs} jobs asked for, {self.ended} ended,"
            f" {self.claims} claims, {self.calls} calls, {self.took_s:.1f} s"
        )
        return "\n".join([text, *self.failures])


async def run(
    subject: Subject,
    claimers: int = 4,
    jobs: int = 2_000,
    seed: int = 1,
    limit_s: float = 60.0,
) -> ConcurrencyReport:
    """Let claimers and producers race on a fresh store; what takes longer than `limit_s` has failed.

    Raises only what the subject raises while its store is made or erased.
    """
    async with subject.place() as place:
        _let_time_run(place)
        shared = Capability.SHARED in place.root.capabilities and _can_be_made(place.root)
        backend = next(iter(subject.installed_backends()), "asyncio")
        with tempfile.TemporaryDirectory(prefix="treadle-race-") as folder:
            race = _Race(place, Path(folder), backend, limit_s)
            orders = _orders(claimers, jobs, seed, limit_s)
            began = time.monotonic()
            await race.run(orders, processes=shared)
            took_s = time.monotonic() - began
        calls = race.calls
    return ConcurrencyReport(
        claimers=claimers,
        jobs=jobs,
        processes=shared,
        calls=len(calls),
        claims=sum(len(c.answer.records) for c in calls if isinstance(c.what, Claim | Turn)),
        ended=_ended(calls),
        took_s=took_s,
        failures=(*race.failures, *_broken(calls)),
    )


def _let_time_run(place: Place) -> None:
    """Give all the same time: that of this machine, where it comes from the clock of the client."""
    place.clock.jump(SystemClock().time_ms() - place.clock.time_ms())
    place.clock.run()


def _can_be_made(broker: Broker) -> bool:
    """Tell whether another process, which has nothing but the URL, makes the same kind of broker."""
    try:
        return type(make_broker(parse(broker.url.raw), SystemClock())) is type(broker)
    except Exception:  # noqa: BLE001 - whatever it is, processes cannot do it either
        return False


def _orders(claimers: int, jobs: int, seed: int, limit_s: float) -> list[Orders]:
    rng = Random(seed)
    shared = max(jobs // OVERLAP, 1)
    size = -(-jobs // PRODUCERS)
    spans = [
        (max(number * size - shared, 0), min((number + 1) * size, jobs))
        for number in range(PRODUCERS)
    ]
    orders = [
        Orders(role="producer", name=f"p{n}", seed=rng.getrandbits(32), first=first, last=last)
        for n, (first, last) in enumerate(spans)
    ]
    orders += [
        Orders(role="claimer", name=f"w{n}", seed=rng.getrandbits(32)) for n in range(claimers)
    ]
    return [structs.replace(one, limit_s=limit_s) for one in orders]


class _Race:
    """Producers and claimers that run, and what they wrote down."""

    def __init__(self, place: Place, folder: Path, backend: str, limit_s: float) -> None:
        self.failures: list[str] = []
        self.calls: list[Call] = []
        self._place = place
        self._folder = folder
        self._backend = backend
        self._limit_s = limit_s
        self._history = History(time.monotonic_ns)
        self._producing = 0

    async def run(self, orders: Sequence[Orders], *, processes: bool) -> None:
        """Run them all, then scan the store."""
        self._producing = sum(one.role == "producer" for one in orders)
        with anyio.move_on_after(self._limit_s + _GRACE_S) as scope:
            async with anyio.create_task_group() as tasks:
                for one in orders:
                    tasks.start_soon(self._run_one, one, processes)
        if scope.cancelled_caught and not self.failures:
            self.failures.append(f"it did not end within {self._limit_s:g} s")
        await self._scan()
        logs = [path.read_bytes() for path in sorted(self._folder.glob("*.history"))]
        self.calls = History.load(*logs, self._history.dump()).calls

    async def _run_one(self, orders: Orders, in_process: bool) -> None:
        path = self._folder / f"{orders.name}.history"
        orders = structs.replace(orders, history=str(path), backend=self._backend)
        if in_process:
            await self._in_process(orders)
        else:
            await self._in_thread(orders)
        if orders.role == "producer":
            self._producing -= 1
            if not self._producing:
                await self._tell_enough()

    async def _tell_enough(self) -> None:
        try:
            await self._place.root.put_document(ENOUGH, b"{}", 0)
        except Exception as error:  # noqa: BLE001 - a broker that is proven may raise anything
            self.failures.append(f"put_document raised {_said(error)}")

    async def _in_process(self, orders: Orders) -> None:
        errors = self._folder / f"{orders.name}.err"
        orders = structs.replace(orders, url=self._place.root.url.raw)
        with errors.open("wb") as stderr:
            process = await anyio.open_process(
                [sys.executable, "-m", "treadle.conformance.race"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
            try:
                await _order(process, orders)
                code = await process.wait()
            except BaseException:
                process.kill()
                with anyio.CancelScope(shield=True):
                    await process.aclose()
                raise
        await process.aclose()
        if code:
            tail = errors.read_text(errors="replace")[-_SHOWN:].strip()
            self.failures.append(f"{orders.role} {orders.name} ended with {code}: {tail}")

    async def _in_thread(self, orders: Orders) -> None:
        # A copy of the broker, made on the loop that owns the root.
        broker = self._place.broker()

        def in_thread() -> None:
            anyio.run(_in_loop, broker, orders, backend=self._backend)

        try:
            await anyio.to_thread.run_sync(
                in_thread, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
            )
        except Exception as error:  # noqa: BLE001 - a broker that is proven may raise anything
            self.failures.append(f"{orders.role} {orders.name} raised {_said(error)}")

    async def _scan(self) -> None:
        try:
            with anyio.fail_after(self._limit_s / 2 + _GRACE_S):
                await Recorder(self._place.root, self._history).scan()
        except Exception as error:  # noqa: BLE001 - a broker that is proven may raise anything
            self.failures.append(f"the last scan raised {_said(error)}")


async def _order(process: Process, orders: Orders) -> None:
    if process.stdin is None:
        raise RuntimeError("a process was started without standard input")
    await process.stdin.send(msgspec.json.encode(orders))
    await process.stdin.aclose()


async def _in_loop(broker: Broker, orders: Orders) -> None:
    history = History(time.monotonic_ns)
    try:
        with anyio.fail_after(orders.limit_s):
            async with Recorder(broker, history) as recorder:
                await perform(recorder, orders)
    finally:
        Path(orders.history).write_bytes(history.dump())  # noqa: ASYNC240 - this loop has ended its work


def _ended(calls: Sequence[Call]) -> int:
    scans = [call for call in calls if isinstance(call.what, Scan)]
    return sum(one.state in FINAL for one in scans[-1].answer.records) if scans else 0


def _broken(calls: Sequence[Call]) -> list[str]:
    return [str(violation) for violation in check(calls, drained=True)]


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:_SHOWN]
