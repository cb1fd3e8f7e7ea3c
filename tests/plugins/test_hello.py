"""The first example does what it says, with nothing but a folder to work in."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.source import ROOT


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.contract("F09")
def test_hello_enqueues_and_a_worker_runs_what_is_due(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples/hello.py", tmp_path)

    said = _run(tmp_path, "hello.py")
    _run(tmp_path, "-m", "treadle", "worker", "hello:jobs", "--burst")
    listed = _run(tmp_path, "-m", "treadle", "jobs", "list", "--json").splitlines()

    assert "it is queued" in said
    assert sorted(line.partition('"state":"')[2].partition('"')[0] for line in listed) == [
        "scheduled",
        *["succeeded"] * 4,
    ]
