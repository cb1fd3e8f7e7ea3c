"""What it costs to import `treadle` and to ask `qrun` for help."""

from __future__ import annotations

import os
import subprocess
import sys
import time

_HARD_NEEDS = "import anyio, click, msgspec, pluggy"
_RUNS = 7


def _seconds(*arguments: str) -> float:
    """Return the quickest of several runs of this interpreter; the first may have to compile."""
    best = float("inf")
    may_compile = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(_RUNS):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=may_compile
        )
        best = min(best, time.perf_counter() - started)
    return best


def imports() -> dict[str, object]:
    """Compare with a bare interpreter and with importing the hard needs."""
    bare = _seconds("-c", "pass")
    needs = _seconds("-c", _HARD_NEEDS)
    own = _seconds("-c", "import treadle; treadle.Jobs")
    plain = _seconds("-c", "import treadle")
    usage = _seconds("-m", "treadle", "--help")
    return {
        "measure": "imports",
        "import_treadle_to_hard_needs": round(plain / needs, 2),
        "jobs_class_to_hard_needs": round(own / needs, 2),
        "help_to_bare_interpreter": round(usage / bare, 2),
    }
