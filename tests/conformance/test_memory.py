"""The memory broker keeps every promise of the protocol."""

from __future__ import annotations

import pytest

from treadle.conformance import BrokerConformance, Subject


class TestMemory(BrokerConformance):
    @pytest.fixture
    def subject(self) -> Subject:
        return Subject("memory://")
