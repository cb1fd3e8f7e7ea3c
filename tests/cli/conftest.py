"""The command as users run it: a process of its own in an empty folder, or in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from click.testing import CliRunner
from msgspec import Struct

from treadle import Jobs
from treadle.cli import main
from treadle.domain.decide import decide
from treadle.domain.job import ErrorInfo, Job
from treadle.domain.outcome import Failed, Outcome, Refused, Write

MODULES = ("app", "enqueue_app", "jobs", "main", "named")
"""What apps of these tests are called; each test imports its own."""


class Ran(Struct, frozen=True):
    """How a call of the command ended."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Return the JSON objects that it wrote, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Qrun:
    """Runs `qrun` in a folder; `process` in a process of its own, calling it in this one."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder / 'jobs.db'}"
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str, input: str = "", **environment: str) -> Ran:
        """Run the command in this process, as if it were the first one there."""
        for name in MODULES:
            sys.modules.pop(name, None)
        with self._monkeypatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(sys, "path", list(sys.path))
            patch.setenv("QRUN_URL", environment.pop("QRUN_URL", self.url))
            result = CliRunner().invoke(main, arguments, input=input, env=environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    def environment(self, **environment: str) -> dict[str, str]:
        """Return the environment of a process of this folder."""
        return {**os.environ, "QRUN_URL": self.url, **environment}

    def process(self, *arguments: str, input: str = "", timeout: float = 240, **env: str) -> Ran:
        """Run the command in a process of its own, to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "treadle", *arguments],
            cwd=self.folder,
            env=self.environment(**env),
            input=input,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start the command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "treadle", *arguments],
            cwd=self.folder,
            env=self.environment(**env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def enqueue(self, *jobs: Job) -> None:
        """Put jobs into the store, without the command."""

        async def main() -> None:
            async with Jobs(self.url) as app:
                await app.client.enqueue(jobs)

        anyio.run(main)

    def end(self, outcome: Outcome, *, limit: int = 500, queue: str = "default") -> int:
        """Claim what is due and end it like this, as a worker would; return how many ended."""

        async def main() -> int:
            async with Jobs(self.url) as app:
                broker = await app.client.broker()
                opened = await broker.open("test", 60_000, b"{}")
                claimed = await broker.claim(opened.session, [queue], limit)
                writes: list[Write] = []
                for record in claimed.records:
                    write = decide(record, outcome, record.job.policy, claimed.now, Random(7))
                    assert not isinstance(write, Refused)
                    writes.append(write)
                await broker.apply(writes)
                await broker.close(opened.session)
                return len(writes)

        return anyio.run(main)

    def states(self) -> dict[str, str]:
        """Return the state of every job by its id."""
        return {row["id"]: row["state"] for row in self("jobs", "list", "--json").objects}

    def write(self, name: str, text: str) -> Path:
        """Write a file into the folder."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path


APP = '''
"""An app for tests of the command."""

from treadle import GiveUp, Jobs

jobs = Jobs()


@jobs.handler("email.send", retry=0)
async def send_email(to: str, subject: str = "hi") -> str:
    """Send."""
    if to == "nobody":
        raise GiveUp("no such person")
    return f"sent {subject} to {to}"
'''


@pytest.fixture
def qrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Qrun:
    """Give the command in an empty folder, with a broker file of its own."""
    return Qrun(tmp_path, monkeypatch)


@pytest.fixture
def with_app(qrun: Qrun) -> Qrun:
    """Give the command in a folder with an app."""
    qrun.write("jobs.py", APP)
    return qrun


GIVEN_UP = Failed(
    error=ErrorInfo(type="builtins.ValueError", message="no such person"), give_up=True
)
"""How the jobs of these tests die."""
