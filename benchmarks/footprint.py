"""How the memory of a worker process grows with the jobs that it has run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import anyio

from treadle import Handler, Jobs

_ROUNDS = 10
_WARM_UP = 4
"""Rounds until SQLite's page cache is full."""


def _resident_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


def _app(url: str) -> tuple[Jobs, Handler[[int], None]]:
    jobs = Jobs(url)

    @jobs.handler("noop")
    async def noop(n: int) -> None:
        del n

    return jobs, noop


async def _enqueue(url: str, count: int) -> None:
    jobs, noop = _app(url)
    rows = [{"n": number} for number in range(1_000)]
    async with jobs:
        for _ in range(max(count // 1_000, 1)):
            await noop.enqueue_many(rows)


async def _work(url: str, count: int) -> None:
    jobs, _ = _app(url)
    enqueue = [sys.executable, "-m", "benchmarks.footprint", "enqueue", url, str(count)]
    async with jobs:
        for _ in range(_ROUNDS):
            await anyio.run_process(enqueue)
            await jobs.worker(concurrency=200, burst=True).run()
            print(_resident_mib(), flush=True)


def footprint(count: int) -> dict[str, object]:
    """Run rounds of `count` jobs on SQLite in one worker process, which enqueues nothing itself."""
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        url = f"sqlite:///{Path(folder) / 'footprint.db'}"
        command = [sys.executable, "-m", "benchmarks.footprint", "work", url, str(count)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    sizes = [float(line) for line in done.stdout.split()]
    warm = sizes[_WARM_UP:]
    slope = (warm[-1] - warm[0]) / (count * (len(warm) - 1)) * 1_000_000
    return {
        "measure": "worker_memory",
        "broker": "sqlite",
        "jobs": count * _ROUNDS,
        "resident_mib": round(sizes[-1], 1),
        "slope_mib_per_million": round(slope, 2),
    }


if __name__ == "__main__":
    roles = {"enqueue": _enqueue, "work": _work}
    anyio.run(roles[sys.argv[1]], sys.argv[2], int(sys.argv[3]))
