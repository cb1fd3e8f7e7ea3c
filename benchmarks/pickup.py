"""How long an idle worker in another process takes to have a job in hand.

Measured from the begin of `enqueue`, which writes the job durably: on a slow disk most of it is that
write. `stored` tells that part, `raw_commit` what the bare `sqlite3` module needs to commit one row,
and `since_stored` counts from when `enqueue` has returned (less than nothing: it was quicker).

The file has been in use, so the write-ahead log has its full size, for both: as long as it grows, a
commit takes up to half as long again.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import anyio

from treadle.broker.sqlite import treadle_broker
from treadle.broker.url import parse
from treadle.domain.job import Job
from treadle.runtime.clock import SystemClock

_SAMPLES = 200
_PAUSE_S = 0.02
_LOG_BYTES = 50_000_000
"""More than the write-ahead log holds before it begins from the front."""
_BALLAST_BYTES = 50_000


async def _wait_for_jobs(url: str) -> None:
    async with treadle_broker(parse(url), SystemClock()) as broker:
        opened = await broker.open("pickup", 600_000, b"{}")
        print("ready", flush=True)
        while True:
            claimed = await broker.claim(opened.session, ["pickup"], 1, 5_000)
            if claimed.records:
                print(time.monotonic(), flush=True)


async def _enqueue(url: str, child: subprocess.Popen[str]) -> tuple[list[float], list[float]]:
    """Return, in ms, how long each job took to be in hand, and to be stored."""
    assert child.stdout is not None
    child.stdout.readline()
    taken: list[float] = []
    stored: list[float] = []
    async with treadle_broker(parse(url), SystemClock()) as broker:
        ballast = b'"%s"' % (b"x" * _BALLAST_BYTES)
        for number in range(_LOG_BYTES // _BALLAST_BYTES):
            heavy = Job(id=f"ballast-{number}", type="none", queue="ballast", payload=ballast)
            await broker.enqueue([heavy])
        for number in range(_SAMPLES):
            await anyio.sleep(_PAUSE_S)
            started = time.monotonic()
            await broker.enqueue([Job(id=f"pickup-{number}", type="none", queue="pickup")])
            stored.append((time.monotonic() - started) * 1000)
            taken.append((float(child.stdout.readline()) - started) * 1000)
    return taken, stored


def _raw_commits() -> list[float]:
    """Return, in ms, how long durable commits of one row took, as far apart as the jobs."""
    taken: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder,
        closing(sqlite3.connect(Path(folder) / "raw.db", isolation_level=None)) as raw,
    ):
        raw.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (body)")
        raw.execute("INSERT INTO t VALUES (zeroblob(?))", (_LOG_BYTES,))
        for _ in range(_SAMPLES):
            time.sleep(_PAUSE_S)
            started = time.monotonic()
            raw.execute("BEGIN IMMEDIATE")
            raw.execute("INSERT INTO t VALUES (zeroblob(300))")
            raw.execute("COMMIT")
            taken.append((time.monotonic() - started) * 1000)
    return taken


def pickup(url: str) -> dict[str, object]:
    """Measure from the begin of `enqueue` to the claimed record in the other process, in ms."""
    command = [sys.executable, "-m", "benchmarks.pickup", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        taken, stored = anyio.run(_enqueue, url, child)
        child.terminate()
    since = [whole - part for whole, part in zip(taken, stored, strict=True)]
    return {
        "measure": "pickup_ms",
        "broker": "sqlite",
        "p50": _quantile(taken, 0.5),
        "p99": _quantile(taken, 0.99),
        "stored_p50": _quantile(stored, 0.5),
        "since_stored_p50": _quantile(since, 0.5),
        "since_stored_p99": _quantile(since, 0.99),
        "raw_commit_p50": _quantile(_raw_commits(), 0.5),
    }


def _quantile(values: list[float], part: float) -> float:
    return round(sorted(values)[int(len(values) * part)], 2)


if __name__ == "__main__":
    anyio.run(_wait_for_jobs, sys.argv[1])
