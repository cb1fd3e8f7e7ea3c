"""The kit as a pytest class: one test for each case and event loop.

class TestAcme(BrokerConformance):
    @pytest.fixture
    def subject(self, tmp_path):
        return Subject(f"acme:///{tmp_path}/jobs")
"""

from __future__ import annotations

import importlib.util
from typing import ClassVar

import pytest

from treadle.conformance.case import Case, Level, cases_of
from treadle.conformance.options import chosen_level, remember
from treadle.conformance.report import Result
from treadle.conformance.run import Patience, run_case
from treadle.conformance.subject import Subject


class BrokerConformance:
    """Inherit this and override the fixture `subject`: each test gets a fresh one."""

    level: ClassVar[Level | str] = Level.PUSH
    """Which cases are run; the option `--broker-level` goes first."""
    backends: ClassVar[tuple[str, ...]] = ("asyncio", "trio")
    """The event loops that the broker supports; those that are not installed are left out."""
    _patience: ClassVar[Patience]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._patience = Patience()

    @pytest.fixture
    def subject(self) -> Subject:
        """Return the broker to be proven."""
        pytest.fail(
            f"{type(self).__name__} does not say which broker shall be proven: override the fixture"
            ' `subject`, for example with: return Subject("acme://...")',
            pytrace=False,
        )

    @classmethod
    def pytest_generate_tests(cls, metafunc: pytest.Metafunc) -> None:
        """Make one test for each case and event loop."""
        if "conformance_case" not in metafunc.fixturenames:
            return
        level = chosen_level(metafunc.config) or cls.level
        backends = [name for name in cls.backends if importlib.util.find_spec(name)]
        rows = [(case, backend) for case in cases_of(level) for backend in backends]
        names = [f"{case.id}-{_name(case)}-{backend}" for case, backend in rows]
        metafunc.parametrize(("conformance_case", "backend"), rows, ids=names)

    def test_case(
        self,
        request: pytest.FixtureRequest,
        subject: Subject,
        conformance_case: Case,
        backend: str,
    ) -> None:
        """Run one case; its id and its title are in the name of the test."""
        __tracebackhide__ = True
        if backend not in subject.backends:
            pytest.skip(f"this broker does not run on {backend}")
        finished = run_case(subject, conformance_case, backend, self._patience)
        remember(request.config, type(self), str(subject), finished)
        match finished.row.result:
            case Result.SKIPPED:
                pytest.skip(finished.row.detail)
            case Result.FAILED:
                told = f"{conformance_case.id} {conformance_case.title}: {finished.row.detail}"
                raise AssertionError(told) from finished.error
            case Result.PASSED:
                return


def _name(case: Case) -> str:
    return case.title.replace(" ", "_")
