"""Listings: a row that is passed over without being decoded is one that cannot match."""

from __future__ import annotations

import pytest

from treadle.broker.sqlite import SqliteBroker
from treadle.broker.values import Filter
from treadle.conformance.hand import Hand, make_job, stored
from treadle.domain.job import ErrorInfo, Policy
from treadle.domain.outcome import Failed
from treadle.domain.unique import Unique

pytestmark = pytest.mark.anyio


async def _found(broker: SqliteBroker, filter: Filter) -> list[str]:
    return [record.job.id for record in (await broker.find(filter)).records]


@pytest.mark.parametrize(
    ("key", "text"),
    [('say "hi"', 'y "h'), ("a\\b", "a\\b"), ("a/b", "a/"), ("größe", "öß"), ("tab\there", "\th")],
)
async def test_a_text_that_is_stored_in_another_form_is_found(
    broker: SqliteBroker, key: str, text: str
) -> None:
    await stored(broker, make_job("a", unique=Unique(key=key)), make_job("b"))

    assert await _found(broker, Filter(text=text)) == ["a"]


async def test_a_text_is_found_wherever_it_may_stand(broker: SqliteBroker, hand: Hand) -> None:
    failed = Failed(error=ErrorInfo(type="E"), give_up=True)
    await hand.run(make_job("in-reason"), failed)
    await stored(
        broker,
        make_job("in-type", type="test.needle"),
        make_job("needle-in-id"),
        make_job("in-key", unique=Unique(key="a needle")),
    )

    assert await _found(broker, Filter(text="given_up")) == ["in-reason"]
    assert await _found(broker, Filter(text="needle")) == ["in-key", "needle-in-id", "in-type"]
    assert await _found(broker, Filter(type="test.needle")) == ["in-type"]


async def test_what_stands_elsewhere_in_a_row_is_no_match(broker: SqliteBroker) -> None:
    job = make_job("a", payload=b'{"word":"needle"}', policy=Policy(retry_on=("app.needle",)))
    await stored(broker, job)

    assert await _found(broker, Filter(text="needle")) == []
    assert await _found(broker, Filter(type="needle")) == []
