"""The conformance kit: the proof that a broker keeps what the protocol promises.

It needs the installed package only. What is for pytest needs the extra `treadle[conformance]`. Each
name is loaded when it is first used: pytest imports this package at every start.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from treadle.conformance.case import Case, Level, cases_of
    from treadle.conformance.lab import Lab
    from treadle.conformance.report import Report, Result, Row
    from treadle.conformance.subject import Place, Subject
    from treadle.conformance.suite import BrokerConformance
    from treadle.conformance.verify import report_on, run_cases

__all__ = [
    "BrokerConformance",
    "Case",
    "Lab",
    "Level",
    "Place",
    "Report",
    "Result",
    "Row",
    "Subject",
    "cases_of",
    "report_on",
    "run_cases",
]

_HOMES: Final = {
    "BrokerConformance": "suite",
    "Case": "case",
    "Lab": "lab",
    "Level": "case",
    "Place": "subject",
    "Report": "report",
    "Result": "report",
    "Row": "report",
    "Subject": "subject",
    "cases_of": "case",
    "report_on": "verify",
    "run_cases": "verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
