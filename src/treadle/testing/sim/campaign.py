"""Many seeds on several processes: progress each 10 s, and how to see a failure again."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait

from msgspec import Struct

from treadle.testing.sim.trace import Trace
from treadle.testing.sim.world import Run, run

_CHUNK = 10
_PROGRESS_S = 10.0
_EACH_ON_TRIO = 20
"""Of so many seeds one runs on trio."""


class Found(Struct, frozen=True, kw_only=True):
    """A seed whose run broke a law."""

    seed: int
    backend: str
    violations: tuple[str, ...]

    def __str__(self) -> str:
        lines = "".join(f"\n    {text}" for text in self.violations)
        return f"seed {self.seed} on {self.backend}:{lines}\n    again: {again(self.seed)}"


class Sum(Struct, kw_only=True):
    """What some seeds came to."""

    seeds: int = 0
    jobs: int = 0
    starts: int = 0
    lives: int = 0
    lost: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    faults: dict[str, int] = {}
    found: list[Found] = []

    def add(self, other: Sum) -> None:
        """Add other seeds."""
        self.seeds += other.seeds
        self.jobs += other.jobs
        self.starts += other.starts
        self.lives += other.lives
        self.lost += other.lost
        self.virtual_s += other.virtual_s
        self.cpu_s += other.cpu_s
        self.found += other.found
        for name, number in other.faults.items():
            self.faults[name] = self.faults.get(name, 0) + number

    def __str__(self) -> str:
        faults = ", ".join(f"{number:,} {name}" for name, number in sorted(self.faults.items()))
        return (
            f"{self.seeds:,} seeds, {self.jobs:,} jobs, {self.starts:,} attempts, "
            f"{self.lives:,} worker lives, {self.lost:,} attempts declared lost ({faults}); "
            f"{self.virtual_s / 3600:,.1f} h simulated, "
            f"{self.cpu_s * 1000 / max(self.seeds, 1):.0f} ms of CPU a seed; "
            f"{len(self.found)} seeds broke a law"
        )


def again(seed: int) -> str:
    """Return the command that runs a seed again and prints its trace."""
    return f"python -m treadle.testing.sim --seed {seed} --backend {backend_of(seed)}"


def backend_of(seed: int) -> str:
    """Return the loop that a campaign runs a seed on."""
    return "trio" if seed % _EACH_ON_TRIO == _EACH_ON_TRIO - 1 else "asyncio"


def campaign(seeds: Sequence[int], *, backend: str = "", jobs: int = 20) -> Sum:
    """Run seeds one after the other in this process."""
    total = Sum()
    started = time.process_time()
    for seed in seeds:
        on = backend or backend_of(seed)
        try:
            one = run(seed, backend=on, jobs=jobs)
        except Exception as error:  # noqa: BLE001 - whatever it is, the seed must be told
            one = Run(seed=seed, backend=on, violations=(repr(error),), trace=Trace())
        part = Sum(
            seeds=1,
            jobs=one.jobs,
            starts=one.starts,
            lives=one.lives,
            lost=one.lost,
            virtual_s=one.seconds,
            faults=dict(one.faults),
        )
        if one.violations:
            part.found.append(Found(seed=seed, backend=on, violations=one.violations))
        total.add(part)
    total.cpu_s = time.process_time() - started
    return total


def campaigns(
    seeds: range,
    *,
    processes: int,
    backend: str = "",
    jobs: int = 20,
    tell: Callable[[str], None],
    stop_at: int = 5,
) -> Sum:
    """Run seeds on several processes; end early when `stop_at` of them broke a law."""
    total = Sum()
    context = multiprocessing.get_context("spawn")
    told = time.monotonic()
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        chunks = _chunks(seeds)
        pending: set[Future[Sum]] = set()
        while True:
            while len(pending) < 2 * processes and (chunk := next(chunks, None)) is not None:
                pending.add(pool.submit(campaign, chunk, backend=backend, jobs=jobs))
            if not pending:
                return total
            done, pending = wait(pending, timeout=1, return_when="FIRST_COMPLETED")
            for future in done:
                total.add(future.result())
                for found in future.result().found:
                    tell(str(found))
            if len(total.found) >= stop_at:
                chunks = iter(())
                pending = {future for future in pending if not future.cancel()}
            if time.monotonic() - told >= _PROGRESS_S:
                told = time.monotonic()
                tell(f"{total.seeds:,} of {len(seeds):,} seeds")


def _chunks(seeds: range) -> Iterator[range]:
    return (seeds[start : start + _CHUNK] for start in range(0, len(seeds), _CHUNK))
