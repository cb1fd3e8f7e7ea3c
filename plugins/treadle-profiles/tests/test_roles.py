"""The command: which roles a process has under a profile, and what its settings are."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner
from treadle_profiles import streams

from treadle import Jobs
from treadle.cli import main
from treadle.settings import load

PATIENCE_S = 150.0

SLOW = """\
from pathlib import Path
import anyio
from treadle import Jobs
jobs = Jobs()

@jobs.handler("jqs")
async def work(ready: str, go: str) -> dict[str, str]:
    Path(ready).touch()
    while not Path(go).exists():
        await anyio.sleep(0.01)
    return {"message": "done"}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.contract("F05", "F18", "F31")
def test_one_process_does_all_at_its_port_and_ends_when_its_jobs_have(
    web: Any, tmp_path: Path
) -> None:
    (tmp_path / "jobs.py").write_text(SLOW)
    ready, go = tmp_path / "ready", tmp_path / "go"
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    server = web("--profile", "jqs", port="", PORT=str(port), WORKER_COUNT="7")
    server.post("/jobs", {"ready": str(ready), "go": str(go)})
    while not ready.exists():
        assert server.process.poll() is None
    (worker,) = server.get("/api/v1/workers")["items"]

    server.process.terminate()
    go.touch()

    assert server.url == f"http://127.0.0.1:{port}"
    assert worker["info"]["concurrency"] == 7
    assert server.process.wait(PATIENCE_S) == 0
    assert anyio.run(_result, f"sqlite:///{tmp_path}/.treadle/jobs.db") == {"message": "done"}


async def _result(url: str) -> Any:
    async with Jobs(url) as jobs:
        return await (await jobs.get("1")).result(timeout=0)


@pytest.mark.contract("F29", "F30")
def test_the_settings_of_streams_hold_for_every_command(here: Path) -> None:
    environ = {"QRUN_PROFILE": "streams", "WORKER_CONCURRENCY": "3"}

    told = CliRunner().invoke(main, ["config", "--json"], env=environ)

    rows = {row["name"]: row for row in map(json.loads, told.stdout.splitlines())}
    values = {name: row["value"] for name, row in rows.items()}
    assert told.exit_code == 0, told.stderr
    assert values["job.timeout"] == "5m"
    assert values["log.format"] == "json"
    assert values["log.level"] == "info"
    assert values["web.port"] == "8080"
    assert values["worker.concurrency"] == "3"
    assert values["worker.grace"] == "30s"
    assert values["worker.poll_interval"] == "1s"
    assert values["worker.queues"] == "critical, default, low"
    assert rows["worker.grace"]["origin"] == "profile"
    assert rows["worker.concurrency"]["origin"] == "environment: WORKER_CONCURRENCY"


@pytest.mark.contract("F30")
def test_what_is_said_elsewhere_goes_before_a_profile(tmp_path: Path) -> None:
    environ = {"JOB_DEFAULT_TIMEOUT": "1m", "API_PORT": "9", "REDIS_URL": "redis://there"}

    found = load(folder=tmp_path, environ=environ, defaults=streams.profile().defaults)

    assert (found.job.timeout, found.web.port, found.url) == (
        load(folder=tmp_path, environ=environ).job.timeout,
        9,
        "redis://there",
    )


def test_an_unknown_profile_is_told_with_those_that_are_known(here: Path) -> None:
    told = CliRunner().invoke(main, ["web", "--profile", "poll"])

    assert told.exit_code == 2
    assert "Did you mean 'pool'?" in told.stderr
    assert "documents, jqs, pool, streams, submit" in told.stderr


def test_jobs_in_memory_are_not_left_to_other_processes(here: Path) -> None:
    words = ["--profile", "pool", "--no-worker", "--host", "192.0.2.1"]

    told = CliRunner().invoke(main, ["web", *words])

    assert told.exit_code == 2
    assert "memory:// lives in one process" in told.stderr
