"""Listings: what the server leaves out is what cannot match, whatever form it is stored in."""

from __future__ import annotations

import pytest
from treadle_redis import RedisBroker

from treadle.broker.values import Filter, Order
from treadle.conformance.hand import Hand, make_job, stored
from treadle.domain.job import ErrorInfo, Policy
from treadle.domain.outcome import Failed
from treadle.domain.unique import Unique

LONG = "01890a5d-ac96-774b-bcce-b302099a8057"
"""An id of the form that is made here; it is stored in other bytes."""

pytestmark = pytest.mark.anyio


async def _found(broker: RedisBroker, filter: Filter) -> list[str]:
    return [record.job.id for record in (await broker.find(filter)).records]


@pytest.mark.parametrize("text", ["774b-bcce", "8057", "-", LONG])
async def test_a_part_of_an_id_is_found_though_it_is_stored_in_other_bytes(
    broker: RedisBroker, text: str
) -> None:
    await stored(broker, make_job(LONG), make_job("other"))

    assert await _found(broker, Filter(text=text)) == [LONG]


@pytest.mark.parametrize(
    ("key", "text"),
    [('say "hi"', 'y "h'), ("a\\b", "a\\b"), ("a/b", "a/"), ("größe", "öß"), ("tab\there", "\th")],
)
async def test_a_text_that_is_stored_in_another_form_is_found(
    broker: RedisBroker, key: str, text: str
) -> None:
    await stored(broker, make_job("a", unique=Unique(key=key)), make_job("b"))

    assert await _found(broker, Filter(text=text)) == ["a"]


async def test_an_error_that_is_stored_in_another_form_is_found(broker: RedisBroker) -> None:
    hand = await Hand.open(broker)
    failed = Failed(error=ErrorInfo(type="E", message='no "door" öde\n'), give_up=True)
    await hand.run(make_job("a"), failed)

    for text in ('"door"', "öde", "e\n", "no "):
        assert await _found(broker, Filter(error=text)) == ["a"]


async def test_what_stands_elsewhere_in_a_record_is_no_match(broker: RedisBroker) -> None:
    job = make_job("a", payload=b'{"word":"needle"}', policy=Policy(retry_on=("app.needle",)))
    await stored(broker, job)

    assert await _found(broker, Filter(text="needle")) == []
    assert await _found(broker, Filter(type="needle")) == []


async def test_jobs_with_a_concurrency_key_are_found_by_type(broker: RedisBroker) -> None:
    await stored(broker, make_job("a", key="one"), make_job("b", type="test.other"))

    assert await _found(broker, Filter(type="test.work")) == ["a"]


@pytest.mark.parametrize("order", Order)
async def test_pages_over_many_queues_come_in_the_order_of_creation(
    broker: RedisBroker, order: Order
) -> None:
    """More than one part of an index is read, and more than one round is asked for."""
    jobs = [
        make_job(f"job-{n:04}", queue=f"q{n % 7 % 3}", type=f"test.t{n % 2}") for n in range(1_300)
    ]
    await stored(broker, *jobs)
    names = [job.id for job in jobs if job.type == "test.t1"]
    wanted = names if order is Order.OLDEST else names[::-1]

    got: list[str] = []
    cursor: str | None = None
    while True:
        page = await broker.find(Filter(type="test.t1"), order=order, cursor=cursor, limit=130)
        got += [record.job.id for record in page.records]
        cursor = page.cursor
        if cursor is None:
            break

    assert got == wanted


async def test_the_last_match_is_followed_by_a_cursor_only_if_records_are_left(
    broker: RedisBroker,
) -> None:
    await stored(broker, make_job("a", type="test.other"), make_job("b"), make_job("c"))

    only = await broker.find(Filter(type="test.other"), order=Order.NEWEST, limit=1)
    first = await broker.find(Filter(type="test.other"), order=Order.OLDEST, limit=1)

    assert only.cursor is None
    assert first.cursor is not None
