"""How the memory of a worker process grows with the jobs that it has run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import anyio

from treadle import Jobs

_ROUNDS = 5


def _resident_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


async def _work(url: str, count: int) -> None:
    jobs = Jobs(url)

    @jobs.handler("noop")
    async def noop(n: int) -> None:
        del n

    rows = [{"n": number} for number in range(1_000)]
    async with jobs:
        for _ in range(_ROUNDS):
            for _ in range(max(count // 1_000, 1)):
                await noop.enqueue_many(rows)
            await jobs.worker(concurrency=200, burst=True).run()
            print(_resident_mib(), flush=True)


def footprint(count: int) -> dict[str, object]:
    """Run rounds of `count` jobs on SQLite in one process; the first round is the warm-up."""
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        url = f"sqlite:///{Path(folder) / 'footprint.db'}"
        command = [sys.executable, "-m", "benchmarks.footprint", url, str(count)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    sizes = [float(line) for line in done.stdout.split()]
    slope = (sizes[-1] - sizes[0]) / (count * (len(sizes) - 1)) * 1_000_000
    return {
        "measure": "worker_memory",
        "broker": "sqlite",
        "resident_mib": round(sizes[-1], 1),
        "slope_mib_per_million": round(slope, 2),
    }


if __name__ == "__main__":
    anyio.run(_work, sys.argv[1], int(sys.argv[2]))
