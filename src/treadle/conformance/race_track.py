"""What every race needs: a store whose time runs, racers as processes, and all their histories in one.

Time is bounded: what hangs is killed, and the report says so. A race that moves on may take longer than
one that stands still: how fast a machine is says nothing about a broker.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

import anyio
import msgspec
from anyio.abc import Process
from msgspec import structs

from treadle.broker.base import Broker, Capability
from treadle.broker.url import parse
from treadle.conformance.history import Call, History, Recorder, check
from treadle.conformance.history.events import Claim, Scan, Turn
from treadle.conformance.race import ENOUGH, Orders
from treadle.conformance.race_journal import whole_calls
from treadle.conformance.subject import Place
from treadle.domain.state import FINAL
from treadle.plugins import make_broker
from treadle.runtime.clock import SystemClock

PRODUCERS: Final = 2
OVERLAP: Final = 10
"""One in so many jobs is enqueued by both producers."""
LONGEST: Final = 5
"""A race that moves on may take so many times as long as one may stand still."""
_GRACE_S: Final = 3.0
_LOOK_S: Final = 0.5
_SHOWN: Final = 2_000


def is_shared(place: Place) -> bool:
    """Tell whether other processes, which have nothing but the URL, can work on the store."""
    broker = place.root
    if Capability.SHARED not in broker.capabilities:
        return False
    try:
        return type(make_broker(parse(broker.url.raw), SystemClock())) is type(broker)
    except Exception:  # noqa: BLE001 - whatever it is, processes cannot do it either
        return False


def producers(rng: Random, jobs: int) -> list[Orders]:
    """Return the orders of the producers; some jobs are enqueued by more than one."""
    shared = max(jobs // OVERLAP, 1)
    size = -(-jobs // PRODUCERS)
    spans = [
        (max(number * size - shared, 0), min((number + 1) * size, jobs))
        for number in range(PRODUCERS)
    ]
    return [
        Orders(role="producer", name=f"p{n}", seed=rng.getrandbits(32), first=first, last=last)
        for n, (first, last) in enumerate(spans)
    ]


class Track:
    """A store on which racers run, and what they wrote down."""

    def __init__(self, place: Place, folder: Path, backend: str, limit_s: float) -> None:
        """Make one; `limit_s` is how long a race may stand still."""
        self.place = place
        self.backend = backend
        self.failures: list[str] = []
        self.calls: list[Call] = []
        self._folder = folder
        self._limit_s = limit_s
        self._history = History(time.monotonic_ns)
        self._left = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, place: Place, backend: str, limit_s: float) -> AsyncGenerator[Track]:
        """Give a track on a store; all have the time of this machine, if it comes from their clocks."""
        place.clock.jump(SystemClock().time_ms() - place.clock.time_ms())
        place.clock.run()
        with tempfile.TemporaryDirectory(prefix="treadle-race-") as folder:
            yield cls(place, Path(folder), backend, limit_s)

    async def run(
        self, racers: Sequence[Callable[[], Coroutine[Any, Any, None]]], *, last: int
    ) -> None:
        """Run all racers, then read the store; claimers may end when `last` of them called `arrive`."""
        self._left = last
        with anyio.move_on_after(self._limit_s * LONGEST + _GRACE_S) as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, scope)
                async with anyio.create_task_group() as running:
                    for racer in racers:
                        running.start_soon(racer)
                tasks.cancel_scope.cancel()
        if scope.cancelled_caught and not self.failures:
            stood = f"nothing moved for {self._limit_s:g} s, or it took {LONGEST} times as long"
            self.failures.append(f"the race did not end: {stood}")
        await self._scan()
        logs = [whole_calls(path.read_bytes()) for path in sorted(self._folder.glob("*.history"))]
        self.calls = History.load(*logs, self._history.dump()).calls
        self.failures += [str(violation) for violation in check(self.calls, drained=True)]

    async def _watch(self, race: anyio.CancelScope) -> None:
        """End a race in which nothing moves any more: a broker that hangs, or forgets a job."""
        seen, moved = b"", anyio.current_time()
        while anyio.current_time() - moved <= self._limit_s + _GRACE_S:  # the racers say it first
            await anyio.sleep(min(_LOOK_S, self._limit_s))
            found = await self._standing()
            if found != seen:
                seen, moved = found, anyio.current_time()
        race.cancel()

    async def _standing(self) -> bytes:
        """Say where the race stands; where the broker cannot say, it is as if it stood still."""
        with anyio.move_on_after(self._limit_s):
            try:
                return msgspec.json.encode((await self.place.root.stats()).queues)
            except Exception:  # noqa: BLE001 - the racers find out, and the cases
                return b""
        return b""

    async def arrive(self) -> None:
        """Say that one more racer has done what the others wait for."""
        self._left -= 1
        if self._left:
            return
        try:
            await self.place.root.put_document(ENOUGH, b"{}", 0)
        except Exception as error:  # noqa: BLE001 - a broker that is proven may raise anything
            self.failures.append(f"put_document raised {said(error)}")

    def signed(self, orders: Orders) -> Orders:
        """Complete the orders of a racer: how long, on which loop, and where to write its history."""
        path = self._folder / f"{orders.name}-{orders.seed}.history"
        return structs.replace(
            orders, history=str(path), backend=self.backend, limit_s=self._limit_s
        )

    @asynccontextmanager
    async def process(self, orders: Orders) -> AsyncGenerator[Process]:
        """Start a racer with its orders; what is left of it at the end of the block is killed."""
        orders = structs.replace(self.signed(orders), url=self.place.root.url.raw)
        stdout = subprocess.PIPE if orders.is_prey else subprocess.DEVNULL
        with Path(orders.history).with_suffix(".err").open("wb") as stderr:
            process = await anyio.open_process(
                [sys.executable, "-m", "treadle.conformance.race"],
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
            )
            try:
                assert process.stdin is not None
                await process.stdin.send(msgspec.json.encode(orders))
                await process.stdin.aclose()
                yield process
            finally:
                if process.returncode is None:
                    process.kill()
                with anyio.CancelScope(shield=True):
                    await process.aclose()

    def judge_end(self, orders: Orders, code: int) -> None:
        """Take note of a racer that ended by itself, and not well."""
        if code:
            errors = Path(self.signed(orders).history).with_suffix(".err")
            tail = errors.read_text(errors="replace")[-_SHOWN:].strip()
            self.failures.append(f"{orders.role} {orders.name} ended with {code}: {tail}")

    def claims(self) -> int:
        """Count the jobs that claims have given, hand-backs counted again."""
        found = (call for call in self.calls if isinstance(call.what, Claim | Turn))
        return sum(len(call.answer.records) for call in found)

    def ended(self) -> int:
        """Count the jobs that are final at the end."""
        scans = [call for call in self.calls if isinstance(call.what, Scan)]
        return sum(one.state in FINAL for one in scans[-1].answer.records) if scans else 0

    async def _scan(self) -> None:
        root: Broker = self.place.root
        try:
            with anyio.fail_after(self._limit_s / 2 + _GRACE_S):
                await Recorder(root, self._history).scan()
        except Exception as error:  # noqa: BLE001 - a broker that is proven may raise anything
            self.failures.append(f"the last scan raised {said(error)}")


def said(error: BaseException) -> str:
    """Return what an error says, in bounded length."""
    return f"{type(error).__name__}: {error}"[:_SHOWN]
