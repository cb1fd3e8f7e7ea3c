"""The specification is true: schemathesis asks what it allows, and what it does not, of a live server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BOUND_S = 40
EXAMPLES = 6
# What fits the specification may still be refused: a cursor of another listing, the ETag of another
# moment, `delay` beside `run_at`. Every other check counts.
LEFT_OUT = "positive_data_acceptance"


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_schemathesis_finds_no_answer_that_the_specification_does_not_hold(
    url: str, serve: Any, app_of: Any, tmp_path: Path
) -> None:
    served = serve(app_of(url), typed=False)
    served.create("a.type", id="x")

    done = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "schemathesis"), "run"),
            f"{served.url}/api/v1/openapi.json",
            *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES)),
            *("--max-time", str(BOUND_S), "--generation-deterministic", "--no-shrink"),
            *("--checks", "all", "--exclude-checks", LEFT_OUT, "--no-color", "--warnings", "off"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stdout[-8_000:]
