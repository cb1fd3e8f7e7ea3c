"""Workers on a bad way: whatever is lost, late or doubled between them and the store, the laws hold.

Each seed makes one such way. What was asked and answered is written down, the way is mended, everything
that is left is worked off, and then the history is judged: nothing accepted may be lost, nothing may
end twice, and no two workers may have held one job at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random
from typing import Final

import anyio
from msgspec import Struct

from treadle.conformance.faults import Faults, FaultyBroker, Rates
from treadle.conformance.hand import Hand, act, lease, make_job
from treadle.conformance.history import History, Recorder, check
from treadle.conformance.subject import Place, Subject
from treadle.domain.job import Record
from treadle.domain.outcome import Happening, Interrupted, Lost, Succeeded
from treadle.errors import BrokerError, SessionEnded

_ROUNDS: Final = 60
_JOBS: Final = 40
_MOST_DRAINS: Final = 50
_RATES: Final = Rates(delay=0.0, outage=0.0)


class TroubleReport(Struct, frozen=True, kw_only=True):
    """What came of working on bad ways."""

    seeds: int
    calls: int = 0
    faults: int = 0
    """How many calls something happened to."""
    took_s: float = 0.0
    failures: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Tell whether the broker has passed."""
        return not self.failures

    def __str__(self) -> str:
        text = f"{self.seeds} seeds: {self.calls} calls, {self.faults} faults, {self.took_s:.1f} s"
        return "\n".join([text, *self.failures])


async def run(
    subject: Subject, seeds: Sequence[int] = range(10), limit_s: float = 60.0
) -> TroubleReport:
    """Work on a bad way for each seed, each on a fresh store; stop at the first that fails.

    Raises only what the subject raises while its store is made or erased.
    """
    began = time.monotonic()
    calls = faults = 0
    failures: list[str] = []
    for seed in seeds:
        async with subject.place() as place:
            trouble = _Trouble(place, seed)
            try:
                with anyio.fail_after(limit_s):
                    await trouble.work()
                    await trouble.drain()
                found = check(trouble.history.calls, drained=True)
                failures += [f"seed {seed}: {violation}" for violation in found]
            except Exception as error:  # noqa: BLE001 - a broker that is proven may raise anything
                failures.append(f"seed {seed}: {type(error).__name__}: {error}"[:2_000])
            calls += len(trouble.history)
            faults += len(trouble.faults.told)
        if failures:
            break
    took_s = time.monotonic() - began
    return TroubleReport(
        seeds=len(seeds), calls=calls, faults=faults, took_s=took_s, failures=tuple(failures)
    )


class _Trouble:
    """One worker on one bad way."""

    def __init__(self, place: Place, seed: int) -> None:
        self.history = History()
        self.faults = Faults(Random(seed), _RATES)
        self._place = place
        self._rng = Random(seed)
        self._broker = Recorder(FaultyBroker(place.root, self.faults), self.history)
        self._hand: Hand | None = None
        self._held: list[Record] = []

    async def work(self) -> None:
        """Enqueue and run jobs, as often without an answer as the way wants it."""
        for number in range(_ROUNDS):
            if self._place.movable:
                await self._place.elapse(self._rng.randrange(300))
            try:
                await self._round(number)
            except SessionEnded:
                self._hand = None
            except BrokerError:
                self._held = self._held[:1]  # who knows what became of the others

    async def _round(self, number: int) -> None:
        if self._hand is None:
            self._hand = await Hand.open(self._broker, "worker", 10 * self._place.tick_ms)
        await self._broker.enqueue([make_job(f"job-{number % _JOBS}")])
        self._held += await self._hand.claim(2)
        while self._held:
            ends: list[Happening] = [Succeeded(), Interrupted()]
            await act(self._broker, self._held[-1], self._rng.choice(ends))
            self._held.pop()
        held = [lease(record) for record in self._held]
        pulse = await self._broker.heartbeat(self._hand.session, held)
        for record in pulse.orphans:
            await act(self._broker, record, Interrupted(started=False))

    async def drain(self) -> None:
        """Mend the way, and work off what is left; then read the whole store."""
        broker = Recorder(self._place.root, self.history)
        hand = await Hand.open(broker, "worker", self._place.far_ms)
        for _ in range(_MOST_DRAINS):
            for record in (await broker.overdue(100)).records:
                await act(broker, record, Lost())
            for record in await hand.claim():
                await act(broker, record, Succeeded())
            queues = (await broker.stats()).queues
            if not any(queue.waiting or queue.running for queue in queues):
                break
            await self._place.elapse(self._place.tick_ms)
        await broker.scan()
