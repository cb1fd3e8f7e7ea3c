"""`get` returns everything that is known of a job."""

from __future__ import annotations

import pytest

from tests.contract.hand import Hand, make_job, stored
from treadle.broker.base import Broker
from treadle.domain.job import Ref
from treadle.domain.outcome import Succeeded

pytestmark = pytest.mark.anyio


async def test_jobs_come_in_the_order_of_the_question(broker: Broker) -> None:
    await stored(broker, *(make_job(name) for name in "abc"))

    records = await broker.get([Ref("default", name) for name in ("c", "nobody", "a", "c")])

    assert [None if record is None else record.job.id for record in records] == [
        "c",
        None,
        "a",
        "c",
    ]


async def test_an_unknown_queue_or_job_is_none(broker: Broker) -> None:
    await stored(broker, make_job("a"))

    assert (
        list(await broker.get([Ref("mail", "a"), Ref("default", "b"), Ref("", "b")])) == [None] * 3
    )


async def test_without_a_queue_every_queue_is_asked(broker: Broker) -> None:
    await stored(broker, make_job("a", queue="mail"), make_job("b", queue="reports"))

    records = await broker.get([Ref("", "b"), Ref("", "a")])

    assert [record and record.ref for record in records] == [Ref("reports", "b"), Ref("mail", "a")]


async def test_a_record_comes_with_payload_result_and_history(broker: Broker, hand: Hand) -> None:
    job = make_job("a", payload=b'{"to":"ada"}')
    await hand.run(job, Succeeded(result=b'{"ok":true}', ran_ms=7))

    (record,) = await broker.get([Ref("default", "a")])

    assert record is not None
    assert (record.job, record.result) == (job, b'{"ok":true}')
    assert [(row.event, row.ran_ms) for row in record.history] == [("succeed", 7)]
    assert not record.forgotten
    assert record.fault is None


async def test_no_question_has_no_answer(broker: Broker) -> None:
    assert list(await broker.get([])) == []
