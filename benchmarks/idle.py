"""How much processor time a worker uses that has nothing to do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

_SETTLE_S, _WATCH_S = 3.0, 20.0


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle(url: str) -> dict[str, object]:
    """Watch a worker of the demo's application for 20 s."""
    app = "treadle.cli.demo.app:jobs"
    command = [sys.executable, "-m", "treadle", "worker", app, "--url", url, "--quiet"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as worker:
        time.sleep(_SETTLE_S)
        before = _cpu_seconds(worker.pid)
        time.sleep(_WATCH_S)
        used = _cpu_seconds(worker.pid) - before
        worker.terminate()
    return {
        "measure": "idle_cpu_percent",
        "broker": "sqlite",
        "value": round(used / _WATCH_S * 100, 2),
    }
