"""`pytest --pyargs treadle.conformance --broker URL` runs this file."""

from __future__ import annotations

import pytest

from treadle.conformance.options import broker_url
from treadle.conformance.subject import Subject
from treadle.conformance.suite import BrokerConformance


class TestBroker(BrokerConformance):
    """The broker that the command line names."""

    @pytest.fixture
    def subject(self, request: pytest.FixtureRequest) -> Subject:
        """Return the broker of `--broker`."""
        return Subject(broker_url(request.config))

    @classmethod
    def pytest_generate_tests(cls, metafunc: pytest.Metafunc) -> None:
        """Say once that there is nothing to prove, not in each test."""
        broker_url(metafunc.config)
        super().pytest_generate_tests(metafunc)
