"""The SQLite broker keeps every promise of the protocol."""

from __future__ import annotations

from pathlib import Path

import pytest

from treadle.conformance import BrokerConformance, Subject


class TestSqlite(BrokerConformance):
    @pytest.fixture
    def subject(self, tmp_path: Path) -> Subject:
        return Subject(f"sqlite:///{tmp_path}/jobs.db")
