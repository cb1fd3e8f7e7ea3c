"""What the producers and claimers of a race do, each in a process or a thread of its own.

`python -m treadle.conformance.race` reads its orders from standard input, does them, and writes the
history of its calls to the file that they name: at its end, or call by call if it may be killed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from random import Random
from typing import Final, Literal

import anyio
import msgspec
from msgspec import Struct

from treadle.broker.base import Applied, Broker, Lease
from treadle.broker.url import parse
from treadle.conformance.hand import lease, make_job, write
from treadle.conformance.history import History, Recorder
from treadle.conformance.race_journal import Journal
from treadle.domain.job import After, ErrorInfo, Job, Record
from treadle.domain.outcome import Failed, Happening, Interrupted, Lost, Succeeded
from treadle.domain.unique import Unique
from treadle.errors import SessionEnded
from treadle.plugins import make_broker
from treadle.runtime.clock import SystemClock

ENOUGH: Final = "kit-race-enough"
"""The control document that tells claimers that no more jobs will come."""
READY: Final = "ready\n"
"""What a claimer that may be killed says when it has begun."""
QUEUES: Final = ("race-a", "race-b")
KEYS: Final = 25
LEASE_MS: Final = 600_000
_BATCH: Final = 20
_IDLE_MS: Final = 50
_LOOK_S: Final = 0.5
_BEATS: Final = 5
"""A lease is renewed so many times in its length, if there is nothing else to do."""
_ERROR: Final = ErrorInfo(type="RaceError", message="it failed by chance")


class Orders(Struct, frozen=True, kw_only=True):
    """What one process or thread shall do."""

    role: Literal["producer", "claimer"]
    name: str
    seed: int
    first: int = 0
    """For producers: the numbers of the jobs, from `first` up to `last`."""
    last: int = 0
    limit_s: float = 60.0
    """After so long without the begin or the end of a call it hangs."""
    url: str = ""
    backend: str = "asyncio"
    history: str = ""
    """Where to write the history down."""
    is_prey: bool = False
    """It may be killed: it says when it has begun, writes each call down, and looks after others."""
    lease_ms: int = LEASE_MS
    pace_ms: int = 0
    """How long to do nothing between two calls, at most."""


async def perform(broker: Broker, orders: Orders) -> None:
    """Do what the orders say on a connected broker."""
    if orders.role == "producer":
        await _produce(broker, orders)
    else:
        await _Claimer(broker, orders).work()


async def perform_in_time(broker: Broker, orders: Orders, history: History) -> None:
    """Do what the orders say, for as long as calls begin and end.

    Raises:
        TimeoutError: if one does not return.
    """
    errors: list[Exception] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_watch, history, orders.limit_s, tasks.cancel_scope)
        try:
            await perform(broker, orders)
        except Exception as error:  # noqa: BLE001 - it is raised below, not as one of a group
            errors.append(error)
        else:
            return tasks.cancel_scope.cancel()
        tasks.cancel_scope.cancel()
    if errors:
        raise errors[0]
    raise TimeoutError(f"a call did not return within {orders.limit_s:g} s")


async def _watch(history: History, limit_s: float, racer: anyio.CancelScope) -> None:
    size, moved = -1, anyio.current_time()
    while anyio.current_time() - moved <= limit_s:
        await anyio.sleep(min(_LOOK_S, limit_s))
        if len(history) != size:
            size, moved = len(history), anyio.current_time()
    racer.cancel()


async def _produce(broker: Broker, orders: Orders) -> None:
    rng = Random(orders.seed)
    numbers = list(range(orders.first, orders.last))
    while numbers:
        size = rng.randrange(1, _BATCH)
        await broker.enqueue([_job(number) for number in numbers[:size]])
        if rng.random() < 0.2:
            await broker.enqueue(
                [_job(number) for number in numbers[:size]]
            )  # as after a lost reply
        numbers = numbers[size:]
        await _rest(rng, orders)


async def _rest(rng: Random, orders: Orders) -> None:
    if orders.pace_ms:
        await anyio.sleep(rng.random() * orders.pace_ms / 1_000)


def _job(number: int) -> Job:
    """Make the job of a number: the same from every producer."""
    unique = Unique(key=f"key-{number % KEYS}") if number % 4 == 0 else None
    return make_job(
        f"race-{number:06}",
        queue=QUEUES[number % len(QUEUES)],
        payload=b'{"n":%d}' % number,
        unique=unique,
    )


class _Claimer:
    """One worker: it claims, settles, hands back, and now and then begins again under its name."""

    def __init__(self, broker: Broker, orders: Orders) -> None:
        self._broker = broker
        self._orders = orders
        self._rng = Random(orders.seed)
        self._beaten = 0.0
        self._session = ""
        self._held: list[Record] = []
        self._now = 0

    async def work(self) -> None:
        """Work until nothing is left."""
        await self._begin()
        if self._orders.is_prey:
            sys.stdout.write(READY)
            sys.stdout.flush()
        while True:
            claimed = await self._claim()
            if not claimed and not self._held and await self._is_over():
                await self._broker.close(self._session)
                return
            await self._see_to_it()
            await _rest(self._rng, self._orders)

    async def _see_to_it(self) -> None:
        """Now and then begin again, renew the lease, or look after what others have left."""
        chance = self._rng.random()
        is_late = anyio.current_time() - self._beaten > self._orders.lease_ms / 1_000 / _BEATS
        if chance < 0.01:
            await self._begin()
        elif chance < 0.05 or is_late:
            await self._beat()
        elif chance < 0.2 and self._orders.is_prey:
            await self._sweep()

    async def _begin(self) -> None:
        """Open a session; what the last one ran is lost, as if its process had died."""
        opened = await self._broker.open(self._orders.name, self._orders.lease_ms, b"{}")
        self._session, self._now, self._held = opened.session, opened.now, []
        self._beaten = anyio.current_time()
        await self._settle([(record, Lost()) for record in opened.inherited])

    async def _claim(self) -> bool:
        """Settle some of what is held and claim more; tell whether there was more."""
        rng = self._rng
        rng.shuffle(self._held)
        keep = rng.choice([0, 0, 0, len(self._held) // 2])
        ended, self._held = self._held[keep:], self._held[:keep]
        limit, queues = rng.randrange(1, 8), rng.choice([QUEUES, QUEUES[::-1]])
        pairs = [(record, self._outcome()) for record in ended]
        try:
            if pairs and rng.random() < 0.5:
                writes = [write(record, happening, self._now) for record, happening in pairs]
                turned = await self._broker.turn(self._session, writes, queues, limit)
                found: Sequence[Record] = turned.records
                self._now = turned.now
            else:
                await self._settle(pairs)
                claimed = await self._broker.claim(self._session, queues, limit, _IDLE_MS)
                found, self._now = claimed.records, claimed.now
        except SessionEnded:
            await self._begin()
            return True
        self._held += found
        return bool(found)

    def _outcome(self) -> Happening:
        chance = self._rng.random()
        if chance < 0.15:
            return Interrupted(started=False)
        if chance < 0.20:
            return Failed(error=_ERROR, retry_after=After(0))
        return Succeeded(result=b"true")

    async def _settle(self, pairs: Sequence[tuple[Record, Happening]]) -> None:
        if pairs:
            writes = [write(record, happening, self._now) for record, happening in pairs]
            settled = await self._broker.apply(writes)
            if not any(isinstance(result, Applied) for result in settled.results):
                await anyio.lowlevel.checkpoint()

    async def _beat(self) -> None:
        held: list[Lease] = [lease(record) for record in self._held]
        try:
            pulse = await self._broker.heartbeat(self._session, held)
        except SessionEnded:
            await self._begin()
            return
        self._beaten = anyio.current_time()
        self._held = [record for record in self._held if lease(record) not in pulse.lost]

    async def _sweep(self) -> None:
        """Declare lost what nobody alive holds."""
        overdue = await self._broker.overdue(_BATCH)
        self._now = overdue.now
        await self._settle(
            [(record, Lost(ended=record.session_ended)) for record in overdue.records]
        )

    async def _is_over(self) -> bool:
        if await self._broker.document(ENOUGH) is None:
            return False
        queues = (await self._broker.stats()).queues
        return not any(queue.waiting or queue.running for queue in queues)


async def _main(orders: Orders) -> None:
    path = Path(orders.history)
    opened: AbstractContextManager[History] = nullcontext(History(time.monotonic_ns))
    if orders.is_prey:
        opened = Journal.open(path)
    with opened as history:
        try:
            broker = Recorder(make_broker(parse(orders.url), SystemClock()), history)
            async with broker:
                await perform_in_time(broker, orders, history)
        finally:
            # What is written after a time-out tells what hung. Nothing else runs on this loop now.
            if not orders.is_prey:
                path.write_bytes(history.dump())  # noqa: ASYNC240


if __name__ == "__main__":
    _orders = msgspec.json.decode(sys.stdin.buffer.read(), type=Orders)
    anyio.run(_main, _orders, backend=_orders.backend)
