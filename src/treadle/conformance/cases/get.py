"""`get` returns everything that is known of a job."""

from __future__ import annotations

from treadle.conformance.case import case
from treadle.conformance.hand import make_job, stored
from treadle.conformance.lab import Lab
from treadle.domain.job import Ref
from treadle.domain.outcome import Succeeded


@case("C501", "jobs come in the order of the question")
async def jobs_come_in_the_order_of_the_question(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, *(make_job(name) for name in "abc"))

    records = await broker.get([Ref("default", name) for name in ("c", "nobody", "a", "c")])

    assert [None if record is None else record.job.id for record in records] == [
        "c",
        None,
        "a",
        "c",
    ]


@case("C502", "an unknown queue or job is none")
async def an_unknown_queue_or_job_is_none(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job("a"))

    assert (
        list(await broker.get([Ref("mail", "a"), Ref("default", "b"), Ref("", "b")])) == [None] * 3
    )


@case("C503", "without a queue every queue is asked")
async def without_a_queue_every_queue_is_asked(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job("a", queue="mail"), make_job("b", queue="reports"))

    records = await broker.get([Ref("", "b"), Ref("", "a")])

    assert [record and record.ref for record in records] == [Ref("reports", "b"), Ref("mail", "a")]


@case("C504", "a record comes with payload result and history")
async def a_record_comes_with_payload_result_and_history(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job("a", payload=b'{"to":"ada"}')
    await hand.run(job, Succeeded(result=b'{"ok":true}', ran_ms=7))

    (record,) = await broker.get([Ref("default", "a")])

    assert record is not None
    assert (record.job, record.result) == (job, b'{"ok":true}')
    assert [(row.event, row.ran_ms) for row in record.history] == [("succeed", 7)]
    assert not record.forgotten
    assert record.fault is None


@case("C505", "no question has no answer")
async def no_question_has_no_answer(lab: Lab) -> None:
    broker = lab.broker
    assert list(await broker.get([])) == []
