"""The specification is true: schemathesis asks what it allows, and what it does not, of a live server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from treadle_web.web import Limits

EXAMPLES = 60
REQUESTS = 2_000
"""How many are asked at least."""
# Nothing may depend on how fast the machine is: what is asked follows from the specification alone,
# and no request is given up, here or there, because it took long.
PATIENT = Limits(request_s=600, body_s=600, bulk_s=300, stream_s=0.5, listeners=10_000)
PATIENCE_S = "600"
FOLDER = Path(__file__).parent


@pytest.mark.proof
@pytest.mark.timeout(3_000)
def test_schemathesis_finds_no_answer_that_the_specification_does_not_hold(
    url: str, serve: Any, app_of: Any, tmp_path: Path
) -> None:
    served = serve(app_of(url), typed=False, limits=PATIENT)
    served.create("a.type", id="x")

    done = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "schemathesis"), "run"),
            f"{served.url}/api/v1/openapi.json",
            *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES)),
            *("--generation-deterministic", "--no-shrink", "--suppress-health-check", "all"),
            *("--request-timeout", PATIENCE_S, "--no-color", "--warnings", "off"),
            # The one of `fuzz_checks` is in its place.
            *("--checks", "all", "--exclude-checks", "positive_data_acceptance"),
        ],
        env={**os.environ, "SCHEMATHESIS_HOOKS": "fuzz_checks", "PYTHONPATH": str(FOLDER)},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
    told = re.search(r"(\d[\d,]*) generated", done.stdout)
    assert told is not None, done.stdout[-2_000:]
    assert int(told[1].replace(",", "")) >= REQUESTS
