"""Measure the HTTP interface: `python -m benchmarks.http [--seconds S] [--jobs N] [--url URL]`.

Needs treadle-web; for the pages of another broker, `--url` and its plugin.

Enqueues over keep-alive connections, as fast as one server process takes them and at a rate of 1,000 a
second, beside a bare route of the same server in the same run; then every page of a store with `--jobs`
jobs. Each line is one JSON object. Compare ratios and processor time: the machine's speed changes.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from treadle_web.web import Limits

from benchmarks.http.app import free_port
from benchmarks.http.load import Plan, Seen

_PAYLOAD = {
    "to": "ada@example.com",
    "subject": "Your order has shipped",
    "order_id": 1_234_567,
    "lines": ["one blue chair", "two lamps", "a box of screws"],
    "note": "Leave it with the neighbours if nobody answers the door, please.",
}
_BODY = json.dumps({"type": "note.write", "payload": _PAYLOAD})
_HALF = 1_000.0
_PAGES = (
    "/api/v1/jobs",
    "/api/v1/jobs?limit=200",
    "/api/v1/jobs?queue=mail",
    "/api/v1/jobs?state=queued",
    "/api/v1/jobs?state=succeeded",
    "/api/v1/jobs?queue=mail&state=queued&order=oldest",
    "/api/v1/jobs?type=note.send",
    "/api/v1/jobs?text=nowhere",
    "/api/v1/dlq",
    "/api/v1/dlq/groups",
    "/api/v1/queues",
    "/api/v1/cron",
    "/api/v1/workers",
    "/api/v1/handlers",
    "/api/v1/logs",
    "/metrics",
)
_ASKED = 20
_START_S = 60.0


@contextmanager
def _serving(command: list[str], url: str, port: int) -> Generator[int]:
    """Run a server as long as the block; give its process id when it answers."""
    with subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "QRUN_URL": url, "QRUN_LOG_LEVEL": "error"},
        stdout=subprocess.DEVNULL,
    ) as server:
        try:
            until = time.monotonic() + _START_S
            while not _answers(port):
                if time.monotonic() > until or server.poll() is not None:
                    raise SystemExit(f"no server: {' '.join(command)}")
                time.sleep(0.05)
            yield server.pid
        finally:
            server.terminate()


def _answers(port: int) -> bool:
    asking = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        asking.request("GET", "/livez")
        asking.getresponse().read()
        return True
    except OSError:
        return False
    finally:
        asking.close()


def _cpu_s(pid: int) -> float:
    """Return the processor time of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _load(pid: int, plan: Plan) -> dict[str, object]:
    before = _cpu_s(pid)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.http.load"],
        input=msgspec.json.encode(plan),
        capture_output=True,
        check=True,
    )
    seen = msgspec.json.decode(done.stdout, type=Seen)
    cpu_us = (_cpu_s(pid) - before) / max(seen.answers, 1) * 1_000_000
    return {**msgspec.structs.asdict(seen), "server_cpu_us": round(cpu_us, 1)}


def _enqueues(folder: Path, seconds: float, connections: int) -> None:
    """Say how many jobs a second go in, and how long one takes at a rate; the bare route first."""
    port = free_port()
    web = ["-m", "treadle", "web", "benchmarks.http.app:jobs", "--port", str(port)]
    servers = {"bare": ["-m", "benchmarks.http.app", "bare", str(port)], "enqueue": web}
    for rate in (0.0, _HALF):
        plan = Plan(
            port=port,
            method="POST",
            path="/api/v1/jobs",
            body=_BODY,
            connections=connections,
            seconds=seconds,
            rate=rate,
        )
        found: dict[str, dict[str, object]] = {}
        for name, command in servers.items():
            url = f"sqlite:///{folder / f'{name}-{rate:.0f}.db'}"
            with _serving(command, url, port) as pid:
                _load(pid, msgspec.structs.replace(plan, seconds=min(seconds, 1.0)))
                found[name] = _load(pid, plan)
            _say(measure=f"http_{name}", rate=rate or None, **found[name])
        ours, bare = found["enqueue"], found["bare"]
        _say(
            measure="http_ratio",
            rate=rate or None,
            per_second=_ratio(ours, bare, "per_second"),
            server_cpu=_ratio(ours, bare, "server_cpu_us"),
            load_average=os.getloadavg()[0],
        )


def _ratio(ours: dict[str, object], bare: dict[str, object], name: str) -> float:
    return round(float(str(ours[name])) / float(str(bare[name])), 3)


def _pages(url: str, count: int) -> None:
    """Say how long each page of an empty store takes once it was filled, and asked for."""
    port = free_port()
    filled = [sys.executable, "-m", "benchmarks.http.app", "fill", str(count)]
    subprocess.run(filled, env={**os.environ, "QRUN_URL": url}, check=True)
    web = ["-m", "treadle", "web", "benchmarks.http.app:jobs", "--port", str(port)]
    with _serving(web, url, port):
        asking = http.client.HTTPConnection("127.0.0.1", port, timeout=Limits().request_s * 2)
        for path in _PAGES:
            took = [_took(asking, path) for _ in range(_ASKED + 1)]
            cold, warm = took[0], sorted(took[1:])
            _say(
                measure="http_page",
                path=path,
                jobs=count,
                cold_ms=cold,
                p50_ms=warm[len(warm) // 2],
                max_ms=warm[-1],
            )


def _took(asking: http.client.HTTPConnection, path: str) -> float:
    began = time.perf_counter()
    asking.request("GET", path)
    answer = asking.getresponse()
    answer.read()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status}")
    return round((time.perf_counter() - began) * 1_000, 2)


def _say(**measured: object) -> None:
    print(json.dumps(measured), flush=True)


def main() -> None:
    """Measure enqueues, then pages."""
    parser = argparse.ArgumentParser(prog="benchmarks.http", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--jobs", type=int, default=1_000_000, help="of the pages; 0 = no pages")
    parser.add_argument(
        "--url", help="an empty store for the pages, and no enqueues; else a new file"
    )
    chosen = parser.parse_args()
    if chosen.url:
        _pages(chosen.url, chosen.jobs)
        return
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        _enqueues(Path(folder), chosen.seconds, chosen.connections)
        if chosen.jobs:
            _pages(f"sqlite:///{Path(folder) / 'pages.db'}", chosen.jobs)


if __name__ == "__main__":
    main()
