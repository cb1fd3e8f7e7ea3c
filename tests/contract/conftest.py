"""Each test of the contract runs on every broker, on every event loop that the broker can use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.adapters import Adapter, adapters
from treadle.broker.base import Broker
from treadle.conformance.clock import MovableClock
from treadle.conformance.hand import Hand

_CASES = [(adapter, backend) for adapter in adapters() for backend in adapter.backends]


@pytest.fixture(params=_CASES, ids=[f"{adapter.name}-{backend}" for adapter, backend in _CASES])
def case(request: pytest.FixtureRequest) -> tuple[Adapter, str]:
    """Choose a broker and an event loop for it."""
    chosen: tuple[Adapter, str] = request.param
    return chosen


@pytest.fixture
def adapter(case: tuple[Adapter, str]) -> Adapter:
    """Return what the broker can do for tests."""
    return case[0]


@pytest.fixture
def anyio_backend(case: tuple[Adapter, str]) -> str:
    """Return the event loop of this test."""
    return case[1]


@pytest.fixture
def clock() -> MovableClock:
    """Return the clock of the broker: it stands still until it is moved."""
    return MovableClock()


@pytest.fixture
async def broker(adapter: Adapter, tmp_path: Path, clock: MovableClock) -> AsyncIterator[Broker]:
    """Return a connected broker on a fresh store."""
    async with adapter.make(tmp_path, clock) as broker:
        yield broker


@pytest.fixture
async def hand(broker: Broker) -> Hand:
    """Return a worker's session."""
    return await Hand.open(broker)
