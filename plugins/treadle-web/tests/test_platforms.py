"""What the page on platforms says to start does start, with the variables that platforms set."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "deploy-platforms.md"
PATIENCE_S = 150.0
httpx: Any = import_module("httpx")  # tools of tests only: types are checked without them
yaml: Any = import_module("yaml")
TOKEN = "a-secret-of-more-than-32-characters"

APP = """
from treadle import Jobs
jobs = Jobs()

@jobs.handler("note.write")
async def write(number: int) -> int:
    return number
"""


def _commands(text: str) -> Iterator[str]:
    """Yield what the files on the page tell a platform to run."""
    blocks = re.findall(r"^```(yaml|procfile)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for language, block in blocks:
        if language == "procfile":
            yield from (line.partition(":")[2].strip() for line in block.splitlines())
            continue
        found = yaml.safe_load(block)
        for service in [*found["services"], *found.get("workers", [])]:
            command = service.get("startCommand") or service.get("run_command")
            if command:
                yield command


COMMANDS = sorted(set(_commands(PAGE.read_text(encoding="utf-8"))))


def test_each_platform_has_both_roles() -> None:
    roles = [command.split()[1] for command in _commands(PAGE.read_text(encoding="utf-8"))]

    assert sorted(roles) == ["web"] * 3 + ["worker"] * 3


@pytest.mark.timeout(600)
@pytest.mark.contract("F18", "R13")
@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_platform_is_told_to_run_does_run(command: str, tmp_path: Path) -> None:
    (tmp_path / "myapp").mkdir()
    (tmp_path / "myapp" / "jobs.py").write_text(APP)
    words = shlex.split(re.sub(r"--host \S+", "--host 127.0.0.1", command))
    environment = {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{tmp_path}/jobs.db",
        "PORT": "0",
        "QRUN_PLUGIN_WEB_TOKEN": TOKEN,
        "QRUN_PLUGIN_WEB_HOSTS": "jobs.example",
    }
    once = ["--burst"] if words[1] == "worker" else []
    process = subprocess.Popen(
        [sys.executable, "-m", "treadle", *words[1:], *once],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert process.stdout is not None
    try:
        if words[1] == "web":
            line = next(line for line in process.stdout if line.startswith("serving"))
            root = line.split()[1].removesuffix("/api/v1")
            headers = {"Host": "jobs.example"}
            ready = httpx.get(f"{root}/readyz", headers=headers, timeout=30)
            denied = httpx.get(f"{root}/api/v1/jobs", headers=headers, timeout=30)
            assert (ready.status_code, denied.status_code) == (200, 401)
            process.terminate()
        process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 0
