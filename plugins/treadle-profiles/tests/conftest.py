"""Servers for the tests: `qrun web --profile` in a process of its own, and profiles in this process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from treadle_profiles import treadle_profiles
from treadle_web import access, create_app

from treadle import Jobs
from treadle.settings import load

httpx: Any = import_module("httpx")  # a tool of tests only: types are checked without it
PATIENCE_S = 150.0
QUICK = "[plugin.demo]\npace = 0.01\nfailing = 0.0\n"


class Service:
    """A server that runs, and a client of it."""

    def __init__(self, process: subprocess.Popen[str], url: str, folder: Path) -> None:
        self.process = process
        self.url = url
        self.folder = folder
        # No certificates are loaded: nothing here speaks TLS.
        self.client = httpx.Client(base_url=url, timeout=PATIENCE_S, verify=False)

    def get(self, path: str) -> Any:
        """Ask for something; the answer is a success."""
        answer = self.client.get(path)
        assert answer.is_success, answer.text
        return answer.json()

    def post(self, path: str, body: object) -> Any:
        """Send JSON; the answer is a success."""
        answer = self.client.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def until(self, path: str, fits: Callable[[Any], bool]) -> Any:
        """Ask again and again, and return the first answer that fits; the test has a time limit."""
        while not fits(answer := self.get(path)):
            pass
        return answer

    def qrun(self, *words: str, **environment: str) -> str:
        """Run a command to its end, in the folder of the server."""
        ended = subprocess.run(
            [sys.executable, "-m", "treadle", *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env={**os.environ, **environment},
            timeout=PATIENCE_S,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


Start = Callable[..., Service]


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Start]:
    """Give a way to start `qrun web` in a folder of the test's own; its demo handlers are quick."""
    started: list[Service] = []
    (tmp_path / "treadle.toml").write_text(QUICK)

    def start(*words: str, port: str = "0", **environment: str) -> Service:
        process = subprocess.Popen(
            [sys.executable, "-m", "treadle", "web", *(["--port", port] if port else []), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **environment},
        )
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("serving"):
                url = line.split()[1].removesuffix("/api/v1")
                started.append(Service(process, url, tmp_path))
                return started[-1]
        raise AssertionError(f"it ended with {process.wait()}")

    yield start
    for service in started:
        service.client.close()
        service.process.terminate()
        try:
            service.process.wait(PATIENCE_S)
        finally:
            service.process.kill()
            assert service.process.stdout is not None
            service.process.stdout.close()


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio, as the server does."""
    return "asyncio"


class Contract:
    """An application that serves a profile, asked in the same process; `work` runs what is due."""

    def __init__(self, jobs: Jobs, client: Any) -> None:
        self.jobs = jobs
        self.client = client

    async def get(self, path: str) -> Any:
        """Ask for something; the answer is a success."""
        answer = await self.client.get(path)
        assert answer.is_success, answer.text
        return answer.json()

    async def post(self, path: str, body: object) -> Any:
        """Send JSON; the answer is a success."""
        answer = await self.client.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def work(self) -> None:
        """Run what is due, and end."""
        await self.jobs.worker(burst=True, concurrency=2).run()


Serve = Callable[..., Contract]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Give a way to serve a profile, on a store of the test's own unless it says another one."""
    opened: list[Contract] = []

    def start(name: str, add: Callable[[Jobs], object] | None = None, **settings: str) -> Contract:
        (profile,) = [one for one in treadle_profiles() if one.name == name]
        environ = {"QRUN_URL": f"sqlite:///{tmp_path}/jobs.db", **settings}
        jobs = Jobs(settings=load(folder=tmp_path, environ=environ, defaults=profile.defaults))
        if add is not None:
            add(jobs)
        app = create_app(jobs, access=access(open=True), profile=profile)
        inside = httpx.ASGITransport(app=app)
        client = httpx.AsyncClient(transport=inside, base_url="http://localhost", verify=False)
        opened.append(Contract(jobs, client))
        return opened[-1]

    yield start
    for contract in opened:
        await contract.client.aclose()
        await contract.jobs.close()
