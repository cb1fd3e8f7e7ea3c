"""Run every benchmark: `python -m benchmarks [--jobs N]`; each line is one JSON object.

Compare ratios, not rates: the machine's speed changes, the raw loop beside it changes with it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.footprint import footprint
from benchmarks.idle import idle
from benchmarks.imports import imports
from benchmarks.pickup import pickup


def main() -> None:
    """Run them one after the other, quickest first."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    chosen = parser.parse_args()
    _say(imports())
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as folder:
        url = f"sqlite:///{Path(folder) / 'bench.db'}"
        for broker in ("memory://", url):
            command = [sys.executable, "-m", "treadle", "bench", "--url", broker, "--json"]
            subprocess.run([*command, "--jobs", str(chosen.jobs)], check=True)
        _say(pickup(url))
        _say(idle(url))
        _say(footprint(chosen.jobs))


def _say(measured: object) -> None:
    print(json.dumps(measured), flush=True)


if __name__ == "__main__":
    main()
