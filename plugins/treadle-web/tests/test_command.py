"""`qrun web` and `qrun token` as users run them: processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 150.0
httpx: Any = import_module("httpx")  # a tool of tests only: types are checked without it
SECRET = "a-secret-of-more-than-32-characters"

pytestmark = pytest.mark.timeout(600)  # each starts several processes

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., "tuple[subprocess.Popen[str], str]"]


def _environment(folder: Path, given: dict[str, str]) -> dict[str, str]:
    url = f"sqlite:///{folder / 'jobs.db'}"
    return {**os.environ, "QRUN_URL": url, "PYTHONPATH": str(folder), **given}


@pytest.fixture
def qrun(tmp_path: Path) -> Run:
    """Give a way to run a command to its end."""

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "treadle", *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=_environment(tmp_path, environment),
            timeout=PATIENCE_S,
        )

    return run


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Start]:
    """Give a way to start `qrun web` on a free port; returns its process and where it serves."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "treadle", "web", "--port", "0", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=tmp_path,
            env=_environment(tmp_path, environment),
        )
        started.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("serving"):
                return process, line.split()[1].removesuffix("/api/v1")
        raise AssertionError(f"it ended with {process.wait()}")

    yield start
    for process in started:
        process.kill()
        process.wait(PATIENCE_S)
        if process.stdout is not None:
            process.stdout.close()


def test_it_serves_on_loopback_and_ends_in_order_when_told(web: Start, tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(
        "from treadle import Jobs\n"
        "jobs = Jobs()\n"
        "@jobs.handler('note.write')\n"
        "async def write(number: int) -> int:\n"
        "    return number\n"
    )
    process, url = web()

    made = httpx.post(
        f"{url}/api/v1/jobs", json={"type": "note.write", "payload": {"number": 1}}, timeout=30
    )
    wrong = httpx.post(f"{url}/api/v1/jobs", json={"type": "note.wrong"}, timeout=30)
    process.send_signal(signal.SIGTERM)

    assert url.startswith("http://127.0.0.1:")
    assert (made.status_code, wrong.status_code) == (201, 422)
    assert process.wait(PATIENCE_S) == 0


def test_without_an_app_any_type_is_accepted(web: Start) -> None:
    _, url = web()

    made = httpx.post(f"{url}/api/v1/jobs", json={"type": "any.type"}, timeout=30)

    assert made.status_code == 201


@pytest.mark.security(7)
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104
def test_another_address_is_refused_without_a_token(qrun: Run, host: str) -> None:
    ended = qrun("web", "--host", host, "--port", "0")

    assert ended.returncode == 2
    assert "needs a token" in ended.stderr


@pytest.mark.security(7)
def test_a_weak_token_is_refused_and_never_shown(qrun: Run) -> None:
    ended = qrun("web", "--port", "0", QRUN_PLUGIN_WEB_TOKEN="hunter2")

    assert ended.returncode == 2
    assert "too weak" in ended.stderr
    assert "hunter2" not in ended.stderr


@pytest.mark.security(8)
def test_a_token_file_that_others_may_read_is_refused(qrun: Run, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(SECRET)
    file.chmod(0o644)

    ended = qrun("web", "--port", "0", "--token-file", str(file))

    assert ended.returncode == 2
    assert "chmod 600" in ended.stderr


@pytest.mark.security(7)
def test_a_strong_token_opens_another_address(web: Start, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(SECRET)
    file.chmod(0o600)

    _, url = web("--host", "0.0.0.0", "--token-file", str(file))  # noqa: S104
    local = url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
    closed = httpx.get(f"{local}/api/v1/jobs", timeout=30)
    mine = {"Authorization": f"Bearer {SECRET}"}
    opened = httpx.get(f"{local}/api/v1/jobs", headers=mine, timeout=30)

    assert (closed.status_code, opened.status_code) == (401, 200)


@pytest.mark.security(7, 8)
def test_another_address_is_not_open_when_the_only_token_is_revoked(qrun: Run, web: Start) -> None:
    qrun("token", "create", "ci", "--scope", "operate")
    (listed,) = [json.loads(line) for line in qrun("token", "list", "--json").stdout.splitlines()]
    _, url = web("--host", "0.0.0.0")  # noqa: S104

    revoked = qrun("token", "revoke", listed["id"])  # before the server was ever asked
    answer = httpx.post(
        f"{url.replace('0.0.0.0', '127.0.0.1')}/api/v1/jobs",  # noqa: S104
        json={"type": "any.type"},
        timeout=30,
    )

    assert (revoked.returncode, answer.status_code) == (0, 401)


@pytest.mark.security(8)
def test_a_token_is_made_shown_once_listed_and_revoked(qrun: Run) -> None:
    made = json.loads(qrun("token", "create", "ci", "--scope", "enqueue", "--json").stdout)
    (listed,) = [json.loads(line) for line in qrun("token", "list", "--json").stdout.splitlines()]
    again = qrun("token", "revoke", listed["id"])
    unknown = qrun("token", "revoke", listed["id"])

    assert made["token"].startswith(f"trd_{listed['id']}_")
    assert (listed["name"], listed["scopes"]) == ("ci", ["enqueue"])
    assert made["token"] not in json.dumps(listed)
    assert (again.returncode, unknown.returncode) == (0, 2)
    assert qrun("token", "list", "--json").stdout == ""


@pytest.mark.security(8)
def test_a_token_may_be_for_some_queues(qrun: Run) -> None:
    made = qrun("token", "create", "ci", "--scope", "read", "--queue", "mail", "--queue", "low")
    (listed,) = [json.loads(line) for line in qrun("token", "list", "--json").stdout.splitlines()]
    wrong = qrun("token", "create", "ci", "--scope", "read", "--queue", "no queue")

    assert made.returncode == 0
    assert listed["queues"] == ["low", "mail"]
    assert "mail" in qrun("token", "list").stdout
    assert wrong.returncode == 2


def test_a_port_that_is_taken_is_told(qrun: Run, served: Any) -> None:
    ended = qrun("web", "--port", served.url.rpartition(":")[2])

    assert ended.returncode == 2
    assert "cannot listen on 127.0.0.1" in ended.stderr
