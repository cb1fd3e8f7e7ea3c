"""Claimers that are killed at any moment: what they held is run again, and nothing is lost or doubled.

A claimer that is killed says nothing more: it closes no session and hands nothing back. Its
successor comes under the same name, and inherits, or under another one, and its leases run out and
somebody looks after them. The moments follow from the seed; each counts from when its victim has begun.
Only for stores that processes share: a process that dies takes a store of its own with it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Final

import anyio
from anyio import EndOfStream
from msgspec import Struct, structs

from treadle.conformance.history import Call
from treadle.conformance.history.events import Apply, Said
from treadle.conformance.race import Orders
from treadle.conformance.race_track import PRODUCERS, Track, is_shared, producers
from treadle.conformance.subject import Subject
from treadle.domain.state import Event

KILLS: Final = 4
CLAIMERS: Final = 2
JOBS: Final = 240
LEASE_MS: Final = 1_200
_PACE_MS: Final = 20
_PRODUCER_PACE_MS: Final = 200
_SOONEST_S, _LATEST_S = 0.02, 0.4
"""When a claimer is killed, after it has begun."""
NOT_APPLICABLE: Final = (
    "claimers that are killed: not applicable, the store cannot be shared by processes"
)


class KillsReport(Struct, frozen=True, kw_only=True):
    """What came of a race in which claimers were killed."""

    is_applicable: bool = True
    jobs: int = 0
    killed: int = 0
    lost: int = 0
    """How many attempts were declared lost, and their jobs run again."""
    ended: int = 0
    """How many jobs are final."""
    took_s: float = 0.0
    failures: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Tell whether the broker has passed, or was not asked."""
        return not self.failures

    def __str__(self) -> str:
        if not self.is_applicable:
            return NOT_APPLICABLE
        text = (
            f"{self.killed} claimers killed: {self.jobs} jobs asked for, {self.ended} ended,"
            f" {self.lost} attempts lost, {self.took_s:.1f} s"
        )
        return "\n".join([text, *self.failures])


class _Life(Struct, frozen=True):
    """One claimer from its start to its end."""

    orders: Orders
    killed_after_s: float
    """After so long it is killed; infinity: it ends by itself."""


async def run_kills(
    subject: Subject,
    *,
    claimers: int = CLAIMERS,
    jobs: int = JOBS,
    kills: int = KILLS,
    seed: int = 1,
    limit_s: float = 30.0,
) -> KillsReport:
    """Let claimers race and kill some; what stands still for `limit_s` has failed.

    Raises only what the subject raises while its store is made or erased.
    """
    backend = next(iter(subject.installed_backends()), "asyncio")
    began = time.monotonic()
    async with subject.place() as place, Track.open(place, backend, limit_s) as track:
        if not is_shared(place):
            return KillsReport(is_applicable=False)
        rng = Random(seed)
        made = [structs.replace(one, pace_ms=_PRODUCER_PACE_MS) for one in producers(rng, jobs)]
        hunt = _Hunt(track)
        racers = [partial(hunt.produce, orders) for orders in made]
        racers += [partial(hunt.claim, lives) for lives in _lives(rng, claimers, kills)]
        await track.run(racers, last=PRODUCERS + claimers)
    return KillsReport(
        jobs=jobs,
        killed=hunt.killed,
        lost=sum(map(_lost, track.calls)),
        ended=track.ended(),
        took_s=time.monotonic() - began,
        failures=tuple(track.failures),
    )


def _lives(rng: Random, claimers: int, kills: int) -> list[list[_Life]]:
    """Return for each claimer its lives, one after the other: all but the last are cut short."""
    return [
        [
            _Life(
                Orders(
                    role="claimer",
                    name=f"w{number}" if rng.random() < 0.5 else f"w{number}-{life}",
                    seed=rng.getrandbits(32),
                    is_prey=True,
                    lease_ms=LEASE_MS,
                    pace_ms=_PACE_MS,
                ),
                rng.uniform(_SOONEST_S, _LATEST_S) if life < cut else math.inf,
            )
            for life in range(cut + 1)
        ]
        for number in range(claimers)
        for cut in [len(range(number, kills, claimers))]
    ]


class _Hunt:
    """The race: who is killed has a successor."""

    def __init__(self, track: Track) -> None:
        self.killed = 0
        self._track = track

    async def produce(self, orders: Orders) -> None:
        """Let a producer do its work; nobody kills it."""
        async with self._track.process(orders) as process:
            code = await process.wait()
        self._track.judge_end(orders, code)
        await self._track.arrive()

    async def claim(self, lives: Sequence[_Life]) -> None:
        """Let a claimer live its lives; the others may end when nobody is to be killed any more."""
        for life in lives:
            if life.killed_after_s == math.inf:
                await self._track.arrive()
            await self._live(life)

    async def _live(self, life: _Life) -> None:
        async with self._track.process(life.orders) as process:
            assert process.stdout is not None
            try:
                await process.stdout.receive()
            except EndOfStream:
                pass  # it ended before it had begun: the code says why
            else:
                with anyio.move_on_after(life.killed_after_s) as alive:
                    await process.wait()
                if alive.cancelled_caught:
                    process.kill()
                    self.killed += 1
                    await process.wait()
                    return
            code = await process.wait()
        self._track.judge_end(life.orders, code)


def _lost(call: Call) -> int:
    """Count the attempts that a call declared lost."""
    if not isinstance(call.what, Apply):
        return 0
    results = zip(call.what.writes, call.answer.told, strict=False)
    return sum(put.event == Event.LOSE and told.said is Said.DONE for put, told in results)
