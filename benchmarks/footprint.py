"""How the memory of a worker process grows with the jobs that it has run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import anyio

from treadle import Handler, Jobs

_ROUNDS = 20
_WARM_UP = 10
"""Rounds until caches and the heap have the size that they keep."""
_LOOK_EVERY_S = 0.2


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


def _app(url: str) -> tuple[Jobs, Handler[[int], None]]:
    jobs = Jobs(url)

    @jobs.handler("noop")
    async def noop(n: int) -> None:
        del n

    return jobs, noop


async def _work(url: str) -> None:
    jobs, _ = _app(url)
    async with jobs:
        await jobs.worker(concurrency=200).run()


async def _feed(url: str, count: int, worker: int) -> list[float]:
    """Enqueue rounds of `count` jobs; return how large the worker is when it has run each of them."""
    jobs, noop = _app(url)
    rows = [{"n": number} for number in range(1_000)]
    sizes: list[float] = []
    async with jobs:
        for _ in range(_ROUNDS):
            for _ in range(max(count // 1_000, 1)):
                await noop.enqueue_many(rows)
            while any(  # noqa: ASYNC110 - a worker that is measured is told nothing more
                queue.waiting or queue.running for queue in (await jobs.client.stats()).queues
            ):
                await anyio.sleep(_LOOK_EVERY_S)
            sizes.append(_resident_mib(worker))
    return sizes


def footprint(count: int) -> dict[str, object]:
    """Run rounds of `count` jobs on SQLite in one worker process, which enqueues nothing itself."""
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        url = f"sqlite:///{Path(folder) / 'footprint.db'}"
        command = [sys.executable, "-m", "benchmarks.footprint", url]
        with subprocess.Popen(command) as worker:
            sizes = anyio.run(_feed, url, count, worker.pid)
            worker.terminate()
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
    anyio.run(_work, sys.argv[1])
