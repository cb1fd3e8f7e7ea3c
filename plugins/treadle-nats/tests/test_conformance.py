"""The NATS broker keeps every promise of the protocol."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from treadle.conformance import BrokerConformance, Subject, run_cases


class TestNats(BrokerConformance):
    """With a clock that is moved, so that hours pass in no time."""

    backends = ("asyncio",)

    @pytest.fixture
    def subject(self, server: Any) -> Subject:
        return Subject(f"{server.url}?time=client")


@pytest.mark.proof
class TestNatsOnTrio(TestNats):
    """The thread that reads the log serves callers on any loop."""

    backends = ("trio",)


@pytest.mark.proof
@pytest.mark.timeout(1_800)
@pytest.mark.anyio
async def test_the_cases_pass_in_the_time_of_the_server_too(server: Any) -> None:
    rows = await run_cases(Subject(server.url), "push")

    assert [(row.case, row.detail) for row in rows if row.result != "passed"] == []


@pytest.mark.proof
@pytest.mark.timeout(10_800)
def test_the_whole_kit_passes_with_a_thousand_programs(server: Any) -> None:
    command = [sys.executable, "-m", "treadle", "verify", server.url, "--examples", "1000"]
    done = subprocess.run(
        [*command, "--backend", "asyncio"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-1_000:]
