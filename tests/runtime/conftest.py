"""Workers on the memory broker and virtual time: nothing here waits for real."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.works import Works
from treadle.conformance.faults import Faults, FaultyBroker
from treadle.testing.virtual import LoopClock, virtual_backends


@pytest.fixture(params=virtual_backends(), ids=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run each test on both event loops, on virtual time."""
    return request.param


@pytest.fixture
async def works(anyio_backend: Any) -> Works:
    """A registry, a memory broker and a clock: everything but the worker."""
    return Works(LoopClock())


@pytest.fixture
def road(works: Works) -> Faults:
    """The road between the worker and its broker."""
    road = Faults()
    works.broker = FaultyBroker(works.broker, road)
    return road
