"""A worker on a real server, end to end: nothing is lost, whoever dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

APP = """
import asyncio
from pathlib import Path

from treadle import Jobs

jobs = Jobs()


@jobs.handler("note.write", retry=3)
async def write(number: int) -> int:
    return number


@jobs.handler("note.wait", retry=3)
async def wait(name: str) -> str:
    Path(name).with_suffix(".begun").touch()
    while not Path(name).exists():
        await asyncio.sleep(0.05)
    return name
"""
USER = "worker on >secret ~* &* +@all"
REFUSAL = "may not do what a broker needs"
PATIENCE_S = 240.0


def _qrun(folder: Path, url: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "treadle", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "QRUN_URL": url, "PYTHONPATH": str(folder)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with an application."""
    (tmp_path / "jobs.py").write_text(APP)
    return tmp_path


@pytest.fixture
def worker(folder: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Give a way to start workers; they are stopped at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(url: str) -> subprocess.Popen[bytes]:
        with (folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "treadle", "worker", "jobs:jobs"],
                cwd=folder,
                env={**os.environ, "QRUN_URL": url, "PYTHONPATH": str(folder)},
                stdout=log,
                stderr=log,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
        assert process.wait(timeout=300) == 0, (folder / "worker.log").read_text()[-3_000:]


def _until(folder: Path, url: str, succeeded: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while True:
        (queue,) = _rows(_qrun(folder, url, "queues", "list", "--json"))
        if int(queue["succeeded"]) == succeeded:
            return
        assert time.monotonic() < until, queue
        time.sleep(0.2)


@pytest.mark.timeout(600)
def test_a_worker_goes_on_after_its_server_was_killed(
    folder: Path, start: Callable[..., Any], worker: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    server = start("--appendfsync", "always")
    running = worker(server.url)
    _qrun(folder, server.url, "enqueue", "note.write", "--payload", '{"number": 1}')
    _until(folder, server.url, 1)

    server.stop(kill=True)
    time.sleep(1)
    server.start()
    _qrun(folder, server.url, "enqueue", "note.write", "--payload", '{"number": 2}')
    _until(folder, server.url, 2)

    assert running.poll() is None


def _wait_for(happened: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < until, f"never: {what}"
        time.sleep(0.05)


@pytest.mark.timeout(600)
def test_a_worker_whose_rights_are_taken_away_waits_for_them_and_loses_nothing(
    folder: Path, start: Callable[..., Any], worker: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    server, log, end = start("--user", USER), folder / "worker.log", folder / "end"
    running = worker(f"redis://worker:secret@127.0.0.1:{server.port}")
    payload = json.dumps({"name": str(end)})
    _qrun(folder, server.url, "enqueue", "note.wait", "--payload", payload)
    _wait_for(end.with_suffix(".begun").exists, "the job began")

    admin: Any
    with Redis(port=server.port) as admin:
        admin.execute_command("ACL", "SETUSER", "worker", "-@all")
        end.touch()
        _qrun(folder, server.url, "enqueue", "note.write", "--payload", '{"number": 1}')
        _wait_for(lambda: "settle" in _refusals(log), "a refusal to settle")
        assert running.poll() is None
        admin.execute_command("ACL", "SETUSER", "worker", "+@all")
    _until(folder, server.url, 2)

    jobs = _rows(_qrun(folder, server.url, "jobs", "list", "--json"))
    assert [job["attempt"] for job in jobs] == [1, 1]
    assert running.poll() is None


def _refusals(log: Path) -> str:
    """Return what the worker said about being refused."""
    return "".join(line for line in log.read_text().splitlines() if REFUSAL in line)


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_the_demo_accounts_for_every_job(folder: Path, server: Any) -> None:
    rows = _rows(_qrun(folder, server.url, "demo", "--json"))

    assert rows[-1]["lost"] == 0


def test_doctor_reads_what_the_server_promises(folder: Path, server: Any) -> None:
    text = _qrun(folder, server.url, "doctor")

    assert "appendfsync everysec" in text
    assert "process" in text
