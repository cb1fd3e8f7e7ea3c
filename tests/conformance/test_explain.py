"""What the kit says about an error that came out of a broker, and about one that fills the screen."""

from __future__ import annotations

from treadle.broker.base import Broker, Clock
from treadle.broker.url import BrokerUrl
from treadle.conformance.case import Level, cases_of
from treadle.conformance.report import WIDEST, Result, Row, make_report
from treadle.conformance.run import run_case
from treadle.conformance.subject import Subject


def make(url: BrokerUrl, clock: Clock) -> Broker:
    del url, clock
    return read({})


def read(data: dict[str, Broker]) -> Broker:
    return data["nowhere"]


def failed_with(detail: str, *promises: int) -> str:
    row = Row(
        case="C101",
        title="it works",
        promises=promises,
        level=Level.CORE,
        result=Result.FAILED,
        detail=detail,
    )
    return make_report([row], broker="acme://", capabilities=(), level=Level.CORE).table()


def test_an_error_of_a_broker_names_its_line_and_the_one_that_called_it() -> None:
    case, *_ = cases_of(Level.CORE)

    said = run_case(Subject("acme://", make=make), case).row.detail.splitlines()

    assert [(line.partition(":")[0], line.rpartition(": ")[2]) for line in said[-2:]] == [
        ("raised in conformance/test_explain.py", "return data['nowhere']"),
        ("called in conformance/test_explain.py", "return read({})"),
    ]


def test_a_failure_that_counts_for_several_promises_says_so() -> None:
    assert "it works (asyncio); counts for 1, 4" in failed_with("wrong", 1, 4)
    assert "counts for" not in failed_with("wrong", 4)


def test_a_line_that_fills_the_screen_is_cut() -> None:
    table = failed_with("short\n" + "x" * 250_000)

    assert max(map(len, table.splitlines())) < WIDEST + 100
    assert "short\n" in table
    assert "249,000 characters more" in table
