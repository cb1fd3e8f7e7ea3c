"""A shop on virtual time, and one of its customers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.clients import Shop
from treadle.runtime.client import Client
from treadle.testing.virtual import LoopClock


@pytest.fixture
async def shop(anyio_backend: Any) -> Shop:
    """Open a shop on virtual time."""
    return Shop(LoopClock())


@pytest.fixture
async def client(shop: Shop) -> Client:
    """Be its customer."""
    return shop.client()
