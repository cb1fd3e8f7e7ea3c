"""The example broker, as a stranger meets it: installed, named by a URL, held against the kit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from tests.support.source import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.proof, pytest.mark.timeout(1_200)]

EXAMPLE = ROOT / "examples/broker-lmdb"
MOST_LINES = 400
QUICK = ("--level", "core", "--examples", "0", "--backend", "asyncio")


class Place:
    """An environment with the example and LMDB, and a folder for what it stores."""

    def __init__(self, home: Path) -> None:
        self.store = home / "store"
        self._programs = home / "environment/bin"
        uv = shutil.which("uv")
        bare = () if uv is None else ("--without-pip",)
        make = [sys.executable, "-m", "venv", *bare, home / "environment"]
        subprocess.run(make, check=True, timeout=240)
        # Treadle, its kit and what builds wheels are here already; what the example brings is not.
        (there,) = (home / "environment/lib").glob("*/site-packages")
        here = sysconfig.get_path("purelib")
        (there / "treadle.pth").write_text(f"import site; site.addsitedir({here!r})\n")
        python = self._programs / "python"
        pip = (
            (python, "-m", "pip", "install")
            if uv is None
            else (uv, "pip", "install", "--python", python)
        )
        self._run(*pip, "-q", "--no-deps", "--no-build-isolation", "lmdb>=3.0", EXAMPLE)

    def verify(self, *options: str) -> list[dict[str, Any]]:
        """Hold the broker against the kit; return the rows, and the totals behind them."""
        url = f"lmdb:///{self.store}"
        told = self._run(self._programs / "python", "-m", "treadle", "verify", url, *options)
        return [json.loads(line) for line in told.splitlines()]

    def test(self) -> str:
        """Run the tests of the example's store."""
        tests = EXAMPLE / "tests/test_store.py"
        return self._run(
            *(self._programs / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", tests)
        )

    def _run(self, *command: str | Path) -> str:
        environ = {n: v for n, v in os.environ.items() if not n.startswith(("PYTEST", "QRUN_"))}
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=800, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("lmdb"))


def test_the_example_broker_passes_the_quick_kit(place: Place) -> None:
    *rows, total = place.verify(*QUICK, "--json")

    assert [row for row in rows if row["result"] != "passed"] == []
    assert {"concurrency", "faults", "leaks"} < {row["case"] for row in rows}
    assert total["capabilities"] == ["durable", "fused", "shared"]


def test_the_store_of_the_example_keeps_what_the_kit_cannot_see(place: Place) -> None:
    assert " passed" in place.test()


def test_the_example_broker_is_short() -> None:
    lines = [
        line for path in EXAMPLE.rglob("src/**/*.py") for line in path.read_text().splitlines()
    ]

    assert 0 < len(lines) < MOST_LINES
