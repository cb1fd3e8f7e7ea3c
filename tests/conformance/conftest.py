"""The brokers in the box never block an event loop while a case runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster

from treadle.conformance import BrokerConformance

_BLOCKING = ("time.sleep", "socket.", "ssl.", "sqlite3.")


@pytest.fixture(autouse=True)
def _no_case_blocks_its_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    node: pytest.Item = request.node
    suite = node.getparent(pytest.Class)
    if suite is None or not issubclass(suite.obj, BrokerConformance):
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
