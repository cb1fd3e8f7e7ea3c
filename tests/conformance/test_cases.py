"""The registry of the cases, and that they hold for brokers whose clock nobody can move."""

from __future__ import annotations

import re
from functools import partial

import anyio
import pytest

from treadle.broker.base import Broker, Clock
from treadle.broker.memory import MemoryBroker
from treadle.broker.url import BrokerUrl
from treadle.conformance import Level, Result, Subject, cases_of, report_on, run_cases
from treadle.conformance.case import case
from treadle.conformance.lab import Lab
from treadle.conformance.report import PROMISES
from treadle.runtime.clock import SystemClock


def on_the_real_clock(url: BrokerUrl, clock: Clock) -> Broker:
    """Make a broker that takes no notice of the clock it is given."""
    return MemoryBroker(url, SystemClock())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_case_holds_on_a_clock_that_cannot_be_moved() -> None:
    subject = Subject("memory://", make=on_the_real_clock)
    rows = anyio.run(partial(run_cases, subject, backends=["asyncio"]))

    assert [row for row in rows if row.result is not Result.PASSED] == []
    assert len(rows) == len(cases_of(Level.PUSH))


def test_ids_are_letters_and_numbers_in_the_order_of_the_table() -> None:
    ids = [each.id for each in cases_of()]

    assert all(re.fullmatch(r"C\d{3}", id) for id in ids)
    assert ids == sorted(set(ids))


def test_an_id_is_given_once() -> None:
    async def again(lab: Lab) -> None: ...

    with pytest.raises(ValueError, match="C201"):
        case("C201", "something else")(again)


def test_titles_are_sentences_of_their_own() -> None:
    titles = [each.title for each in cases_of()]

    assert len(titles) == len(set(titles))
    assert all(" " in title and not title.endswith(".") for title in titles)


def test_promises_are_known() -> None:
    assert {number for each in cases_of() for number in each.promises} <= set(PROMISES)


def test_each_level_holds_those_before_it() -> None:
    core, flow, push = (cases_of(level) for level in Level)

    assert {each.id for each in core} < {each.id for each in flow} < {each.id for each in push}


def test_only_what_is_pushed_needs_a_capability() -> None:
    assert [each.id for each in cases_of(Level.FLOW) if each.needs] == []
    assert [each.id for each in cases_of() if bool(each.needs) != (each.level is Level.PUSH)] == []


def test_a_missing_capability_skips_by_name() -> None:
    class Polling(MemoryBroker):
        capabilities = frozenset()

    subject = Subject("memory://", make=Polling)
    rows = anyio.run(partial(run_cases, subject, backends=["asyncio"], ids=["C241", "C259"]))

    assert [row.result for row in rows] == [Result.PASSED, Result.SKIPPED]
    report = report_on(subject, rows, Level.PUSH)
    assert report.passed
    assert "skipped: the broker has no push: C259" in report.table()


def test_a_broker_without_rows_has_shown_nothing() -> None:
    assert not report_on(Subject("memory://"), [], Level.CORE).passed
