"""The broker keeps every promise of the protocol."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from treadle.broker.base import Broker
from treadle.conformance import BrokerConformance, Subject, leaks, run_cases
from treadle.conformance.report import Result
from treadle.errors import ConfigurationError
from treadle.runtime.clock import SystemClock

BACKENDS = ("asyncio",)
Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
def subject(server: Any) -> Subject:
    """Return the broker to be proven: time is the server's."""
    return Subject(server.url, movable=False)


@pytest.mark.anyio
@pytest.mark.timeout(1_200)
@pytest.mark.contract("F21")
async def test_all_cases_of_the_kit_pass(subject: Subject) -> None:
    rows = await run_cases(subject, "push")

    failed = [
        f"{row.case} {row.title}: {row.detail}" for row in rows if row.result != Result.PASSED
    ]
    assert len(rows) > 300
    assert failed == []


@pytest.mark.anyio
async def test_nothing_stays_behind_after_the_last_retention(subject: Subject, ask: Ask) -> None:
    async def size(broker: Broker) -> int:
        keys: list[bytes] = await ask("KEYS", f"{{{broker.url.namespace}*")
        return len(keys)

    report = await leaks.run(subject, size=size)

    assert report.passed, str(report)


@pytest.mark.proof
@pytest.mark.timeout(1_800)
@pytest.mark.contract("F21")
class TestRedis(BrokerConformance):
    backends = BACKENDS

    @pytest.fixture
    def subject(self, server: Any) -> Subject:
        return Subject(server.url, movable=False)


def test_it_runs_on_asyncio_and_says_so(server: Any) -> None:
    subject = Subject(server.url)

    async def connect() -> None:
        await subject.make(server.url, SystemClock()).connect()

    assert subject.installed_backends() == ["asyncio"]
    with pytest.raises(ConfigurationError, match="only on asyncio"):
        Subject(server.url, backends=("trio",)).installed_backends()
    with pytest.raises(ConfigurationError, match="this event loop is trio's"):
        anyio.run(connect, backend="trio")


@pytest.mark.proof
@pytest.mark.timeout(10_800)
def test_the_whole_kit_passes_with_a_thousand_programs(server: Any) -> None:
    command = [sys.executable, "-m", "treadle", "verify", server.url, "--examples", "1000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-1_000:]
