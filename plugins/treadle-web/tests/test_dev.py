"""`qrun dev` with this plugin: all roles of a service at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 150.0
httpx: Any = import_module("httpx")  # a tool of tests only: types are checked without it

APP = """
from treadle import Jobs
jobs = Jobs()

@jobs.handler("note.write")
async def write(number: int) -> int:
    return number

@jobs.every(1, name="ticking")
async def tick() -> None: ...
"""


def _served(process: subprocess.Popen[str]) -> str:
    """Return where it serves, once its worker has told its handlers too."""
    assert process.stdout is not None
    url, works = "", False
    for line in process.stdout:
        works = works or line.startswith("handlers")
        if line.startswith("serving"):
            url = line.split()[1]
        if url and works:
            return url
    raise AssertionError(f"it ended with {process.wait()}")


def _until(url: str, wanted: Callable[[Any], Any]) -> Any:
    """Ask until the answer is as wanted."""
    until = time.monotonic() + PATIENCE_S
    while True:
        answer = httpx.get(url, timeout=30).json()
        if wanted(answer):
            return answer
        assert time.monotonic() < until, answer


@pytest.mark.timeout(600)
@pytest.mark.contract("F31")
def test_one_command_runs_worker_scheduler_and_web(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(APP)
    environment = {**os.environ, "QRUN_URL": f"sqlite:///{tmp_path}/jobs.db", "QRUN_WEB_PORT": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "treadle", "dev"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    try:
        url = _served(process)
        job = {"type": "note.write", "payload": {"number": 7}}
        made = httpx.post(f"{url}/jobs", json=job, timeout=30)
        assert made.status_code == 201
        done = _until(
            f"{url}/jobs/{made.json()['id']}", lambda job: job["state"] not in ("queued", "running")
        )
        ticked = _until(f"{url}/jobs?type=ticking&state=succeeded", lambda page: page["items"])
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)

    assert (done["state"], done["result"]) == ("succeeded", 7)
    assert ticked
    assert process.returncode == 0
