"""The simulation can fail: each bug that is planted on purpose is found within 500 seeds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import treadle
from tests.simulation.planted import PLANTED, Planted

SOURCE = Path(treadle.__file__).parent
SEEDS = 500
AT_ONCE = (
    "an outcome is recorded before the handler has run",
    "orphans are never handed back",
)
"""So few seeds find these that every run of the tests can plant them."""


def seeds_that_find(bug: Planted, folder: Path, seeds: int) -> subprocess.CompletedProcess[str]:
    """Run the simulation on a copy of Treadle with that bug, until a seed breaks a law."""
    copy = folder / "treadle"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    source = (copy / bug.file).read_text()
    assert source.count(bug.right) == 1, f"{bug.file} has changed: plant the bug anew"
    (copy / bug.file).write_text(source.replace(bug.right, bug.wrong))
    command = [sys.executable, "-m", "treadle.testing.sim", "--seeds", f"0:{seeds}"]
    return subprocess.run(
        [*command, "--stop-at", "1"],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.mark.planted
@pytest.mark.timeout(1_000)
@pytest.mark.parametrize(
    "bug",
    [
        pytest.param(bug, marks=() if bug.name in AT_ONCE else pytest.mark.slow, id=bug.name)
        for bug in PLANTED
    ],
)
def test_a_planted_bug_is_found(bug: Planted, tmp_path: Path) -> None:
    ran = seeds_that_find(bug, tmp_path, SEEDS)

    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "--seed" in ran.stdout, ran.stderr
