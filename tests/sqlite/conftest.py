"""A SQLite broker on a file of its own, and a look at the file beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from treadle.broker.sqlite import SqliteBroker
from treadle.broker.url import parse
from treadle.conformance.clock import MovableClock
from treadle.conformance.hand import Hand


@pytest.fixture
def clock() -> MovableClock:
    """Return the clock of the broker: it stands still until it is moved."""
    return MovableClock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where the file will be."""
    return tmp_path / "jobs.db"


@pytest.fixture
async def broker(file: Path, clock: MovableClock) -> AsyncIterator[SqliteBroker]:
    """Return a connected broker."""
    async with SqliteBroker(parse(f"sqlite:///{file}"), clock) as broker:
        yield broker


@pytest.fixture
async def hand(broker: SqliteBroker) -> Hand:
    """Return a worker's session."""
    return await Hand.open(broker)
