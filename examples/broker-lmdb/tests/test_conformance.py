"""Prove the broker: every case of the conformance kit, on each event loop."""

from __future__ import annotations

from pathlib import Path

import pytest

from treadle.conformance import BrokerConformance, Level, Subject


class TestLmdb(BrokerConformance):
    level = Level.FLOW  # without the cases of `push`, which it does not claim

    @pytest.fixture
    def subject(self, tmp_path: Path) -> Subject:
        return Subject(f"lmdb:///{tmp_path}")
