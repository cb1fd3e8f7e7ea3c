"""`qrun bench` measures this store beside what its own client can do with it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest


@pytest.mark.timeout(600)
def test_each_measure_stands_beside_the_raw_loop_of_the_store(server: Any) -> None:
    command = [sys.executable, "-m", "treadle", "bench", "--url", server.url, "--jobs", "150"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    rows: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["measure"] for row in rows] == ["enqueue", "enqueue_many", "drain"]
    assert all(row["complete"] and row["raw_per_second"] > 0 and row["ratio"] > 0 for row in rows)
