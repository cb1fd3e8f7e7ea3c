"""What holds for every test: a clean environment, honest markers, and a loop that never blocks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

import hypothesis
import pytest
from blockbuster import BlockBuster

PROMISES = range(1, 16)
CONTRACT_ROW = re.compile(r"[EFR]\d\d")

# Settings that a developer's shell may hold; a test that wants one sets it.
_SETTINGS = re.compile(
    r"QRUN_.*|DATABASE_URL|REDIS_URL|PORT|API_PORT|LOG_LEVEL|LOG_FORMAT|BUFFER_SIZE"
    r"|WORKER_(CONCURRENCY|COUNT|QUEUES|POLL_INTERVAL|SHUTDOWN_TIMEOUT)"
    r"|JOB_DEFAULT_TIMEOUT|MAX_RETRIES"
    r"|FORCE_COLOR|NO_COLOR|COLUMNS|LINES"
)

# What may block for as long as others please. Reading a small file at start-up is left alone.
_BLOCKING = ("time.sleep", "socket.", "ssl.", "sqlite3.")

# In CI the same commit gets the same answer; elsewhere each run searches further. How long an
# example takes is the machine's affair.
_PATIENT = hypothesis.settings(
    deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile(
    "gate", _PATIENT, print_blob=True, derandomize="CI" in os.environ
)
hypothesis.settings.register_profile("thorough", _PATIENT, max_examples=5_000)
hypothesis.settings.load_profile("gate")


def pytest_configure() -> None:
    """Take the developer's own settings away from the tests and their child processes."""
    for name in [name for name in os.environ if _SETTINGS.fullmatch(name)]:
        del os.environ[name]


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Mark what lies under `tests/crash`, and refuse a promise or contract row that is not one."""
    for item in items:
        if "crash" in item.path.parts:
            item.add_marker(pytest.mark.crash)
        for mark in item.iter_markers("promise"):
            if not mark.args or any(number not in PROMISES for number in mark.args):
                raise pytest.UsageError(f"{item.nodeid}: promise{mark.args} has no such number")
        for mark in item.iter_markers("contract"):
            if not mark.args or not all(CONTRACT_ROW.fullmatch(str(row)) for row in mark.args):
                raise pytest.UsageError(f"{item.nodeid}: contract{mark.args} names no row")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run each async test on both event loops; a folder that cannot says so in its conftest."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _the_loop_never_blocks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail an async test in which Treadle sleeps, queries or waits for a socket on the loop.

    A test whose handler blocks on purpose is marked `blocks`.
    """
    node: pytest.Item = request.node
    if node.get_closest_marker("anyio") is None or node.get_closest_marker("blocks"):
        yield
        return
    guard = BlockBuster("treadle")
    guard.functions = {
        name: function for name, function in guard.functions.items() if name.startswith(_BLOCKING)
    }
    guard.activate()
    try:
        yield
    finally:
        guard.deactivate()
