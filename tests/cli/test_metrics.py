"""`qrun worker --metrics-port`: what real worker processes serve to Prometheus."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cli.conftest import Qrun
from tests.support.factories import make_job
from tests.support.source import ROOT
from treadle.runtime.metrics import Meter, exposition

PATIENCE_S = 120.0

APP = '''
import anyio

from treadle import Jobs

jobs = Jobs()


@jobs.handler("good")
async def good() -> None:
    """Take a moment."""
    await anyio.sleep(0.002)


@jobs.handler("bad", retry=0)
async def bad() -> None:
    raise ValueError("no")
'''


@pytest.fixture
def metered(qrun: Qrun) -> Qrun:
    """Give a folder with an app of two handlers."""
    qrun.write("jobs.py", APP)
    return qrun


def _scraped(port: int) -> dict[tuple[str, str], float]:
    """Ask once; name, and type with outcome, of every sample."""
    asking = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    asking.request("GET", "/metrics")
    answer = asking.getresponse()
    text = answer.read().decode()
    asking.close()
    assert answer.status == 200
    return {
        (
            one.name,
            " ".join(one.labels[k] for k in ("type", "outcome") if k in one.labels),
        ): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if "le" not in one.labels
    }


class Ended(Exception):
    """The worker ended before it told anything."""


def _once(
    port: int, name: str, labels: str, value: float, of: subprocess.Popen[str] | None = None
) -> dict[tuple[str, str], float]:
    """Ask until a number is told, and return that answer.

    Raises:
        Ended: if the process `of` has ended before.
    """
    until = time.monotonic() + PATIENCE_S
    told: dict[tuple[str, str], float] = {}
    while time.monotonic() < until:
        if of is not None and of.poll() is not None:
            raise Ended
        try:
            told = _scraped(port)
        except (OSError, HTTPException):
            continue  # it does not listen yet
        if told.get((name, labels)) == value:
            return told
    pytest.fail(f"{name} {labels} never was {value}: {told}")


def _served(worker: subprocess.Popen[str]) -> int:
    """Wait until a worker tells where its metrics are; return the port."""
    assert worker.stderr is not None
    for line in worker.stderr:
        told: Any = json.loads(line) if line.startswith("{") else {}
        if told.get("event") == "metrics_served":
            return int(told["url"].removesuffix("/metrics").rpartition(":")[2])
    pytest.fail(f"it ended with {worker.wait(PATIENCE_S)}")


def _pairs_of_ports() -> Iterator[int]:
    """Yield ports that are free, as the next one is; somebody else may be quicker to take them.

    None is given by the system to who asks for any port.
    """
    for port in random.Random(os.getpid()).sample(range(12_000, 32_000, 2), 50):
        with suppress(OSError):
            for each in (port, port + 1):
                socket.create_server(("127.0.0.1", each)).close()
            yield port


@pytest.mark.contract("R05")
def test_a_worker_tells_its_attempts_slots_and_times(metered: Qrun) -> None:
    metered.enqueue(*(make_job(id=f"g{n}", type="good") for n in range(3)))
    metered.enqueue(make_job(id="b", type="bad"))

    worker = metered.start(
        "worker", "--metrics-port", "0", "--concurrency", "7", "--log-format", "json"
    )
    try:
        port = _served(worker)
        total = "treadle_worker_attempts_total"
        _once(port, total, "good succeeded", 3)
        told = _once(port, total, "bad dead", 1)
    finally:
        worker.send_signal(signal.SIGTERM)
        out, _ = worker.communicate(timeout=PATIENCE_S)

    assert worker.returncode == 0
    assert "port a free port" in out
    assert told["treadle_worker_slots", ""] == 7
    assert told["treadle_worker_claimed_total", ""] >= 4, "one may be handed back and claimed again"
    assert told["treadle_worker_run_seconds_count", "good"] == 3
    assert told["treadle_worker_run_seconds_sum", "good"] > 0
    assert told["treadle_worker_wait_seconds_count", "bad"] == 1


def test_each_supervised_process_has_a_port_of_its_own(metered: Qrun) -> None:
    for port in _pairs_of_ports():
        worker = metered.start("worker", "--processes", "2", QRUN_WORKER_METRICS_PORT=str(port))
        try:
            for number in range(2):
                _once(port + number, "treadle_worker_slots", "", 10, of=worker)
        except Ended:
            continue  # somebody took one of the two
        finally:
            worker.send_signal(signal.SIGTERM)
            out, _ = worker.communicate(timeout=PATIENCE_S)
        assert worker.returncode == 0
        assert f"port {port} to {port + 1}" in out
        return
    pytest.fail("no two ports in a row were free")


def test_a_free_port_is_told_in_the_log(metered: Qrun) -> None:
    ran = metered.process("worker", "--burst", "--metrics-port", "0", "--log-format", "json")

    lines = [json.loads(line) for line in ran.err.splitlines() if line.startswith("{")]
    (url,) = [line["url"] for line in lines if line["event"] == "metrics_served"]
    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*/metrics", url)


def test_a_port_that_is_taken_ends_the_worker_with_a_word(metered: Qrun) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        ran = metered.process("worker", "--burst", "--metrics-port", str(port))

    assert ran.code == 2
    assert f"port {port}" in ran.err


@pytest.mark.parametrize(("port", "processes"), [("65535", "2"), ("65536", "0")])
def test_ports_that_do_not_exist_are_refused(metered: Qrun, port: str, processes: str) -> None:
    ran = metered("worker", "--burst", "--metrics-port", port, "--processes", processes)

    assert ran.code == 2
    assert "port" in ran.err


def test_every_metric_is_documented() -> None:
    page = (ROOT / "docs" / "how-to" / "metrics.md").read_text(encoding="utf-8")
    told = re.findall(r"^# TYPE (\S+) (\S+)$", exposition(Meter({}, ["default"])), re.MULTILINE)

    rows = re.findall(r"^\| `(treadle_worker_\S+)` \| (\S+) \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(told)
