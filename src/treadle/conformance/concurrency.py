"""Many claimers at once: no job twice, none lost, whoever races with whom.

On a store that several processes can share, producers and claimers are real processes, started with
the URL of the store; elsewhere they are threads, each with its own event loop and its own broker from
`another()`. Each writes the history of its calls; the laws judge all of them together. Where they are
processes, a second race follows in which claimers are killed (`concurrency_kills`).
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from random import Random

import anyio
import anyio.to_thread
from msgspec import Struct

from treadle.broker.base import Broker
from treadle.conformance.concurrency_kills import KILLS, KillsReport, run_kills
from treadle.conformance.history import History, Recorder
from treadle.conformance.race import Orders, perform_in_time
from treadle.conformance.race_track import PRODUCERS, Track, is_shared, producers, said
from treadle.conformance.subject import Subject


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
    kills: KillsReport | None = None
    """What came of the race in which claimers were killed; None: there was none."""

    @property
    def passed(self) -> bool:
        """Tell whether the broker has passed."""
        return not self.failures and (self.kills is None or self.kills.passed)

    def __str__(self) -> str:
        who = "processes" if self.processes else "threads"
        text = (
            f"{self.claimers} claimers in {who}: {self.jobs} jobs asked for, {self.ended} ended,"
            f" {self.claims} claims, {self.calls} calls, {self.took_s:.1f} s"
        )
        kills = [] if self.kills is None else [str(self.kills)]
        return "\n".join([text, *self.failures, *kills])


async def run(
    subject: Subject,
    claimers: int = 4,
    jobs: int = 2_000,
    seed: int = 1,
    limit_s: float = 30.0,
    *,
    kills: int = KILLS,
) -> ConcurrencyReport:
    """Let claimers and producers race on a fresh store; what stands still for `limit_s` has failed.

    With `kills` a second race follows in which so many claimers are killed. Raises only what the
    subject raises while its store is made or erased.
    """
    backend = next(iter(subject.installed_backends()), "asyncio")
    async with subject.place() as place, Track.open(place, backend, limit_s) as track:
        in_processes = is_shared(place)
        rng = Random(seed)
        every = producers(rng, jobs)
        every += [
            Orders(role="claimer", name=f"w{n}", seed=rng.getrandbits(32)) for n in range(claimers)
        ]
        began = time.monotonic()
        run_one = _in_process if in_processes else _in_thread
        await track.run([partial(run_one, track, orders) for orders in every], last=PRODUCERS)
        took_s = time.monotonic() - began
    return ConcurrencyReport(
        claimers=claimers,
        jobs=jobs,
        processes=in_processes,
        calls=len(track.calls),
        claims=track.claims(),
        ended=track.ended(),
        took_s=took_s,
        failures=tuple(track.failures),
        kills=await run_kills(subject, kills=kills, seed=seed, limit_s=limit_s)
        if kills and not track.failures
        else None,
    )


async def _in_process(track: Track, orders: Orders) -> None:
    async with track.process(orders) as process:
        code = await process.wait()
    track.judge_end(orders, code)
    if orders.role == "producer":
        await track.arrive()


async def _in_thread(track: Track, orders: Orders) -> None:
    # A copy of the broker, made on the loop that owns the root.
    broker = track.place.broker()

    def in_thread() -> None:
        anyio.run(_in_loop, broker, track.signed(orders), backend=track.backend)

    try:
        await anyio.to_thread.run_sync(
            in_thread, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
        )
    except Exception as error:  # noqa: BLE001 - a broker that is proven may raise anything
        track.failures.append(f"{orders.role} {orders.name} raised {said(error)}")
    if orders.role == "producer":
        await track.arrive()


async def _in_loop(broker: Broker, orders: Orders) -> None:
    history = History(time.monotonic_ns)
    try:
        async with Recorder(broker, history) as recorder:
            await perform_in_time(recorder, orders, history)
    finally:
        Path(orders.history).write_bytes(history.dump())  # noqa: ASYNC240 - this loop has ended its work
