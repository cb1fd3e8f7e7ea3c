"""`enqueue` stores each job once, or says why not."""

from __future__ import annotations

import anyio

from treadle.broker.base import Applied, Duplicate
from treadle.conformance.case import case
from treadle.conformance.clock import DAY, HOUR, MINUTE, SECOND
from treadle.conformance.hand import HANDED_BACK, ids, known, make_job, ref, stored
from treadle.conformance.lab import Lab
from treadle.domain.job import After, At, Job, OnCrash, Policy, Priority, Ref
from treadle.domain.outcome import RefusalCode, Refused
from treadle.domain.retry import Delays, Jitter
from treadle.domain.state import State
from treadle.domain.unique import Scope, Unique


@case("C101", "an accepted job is read back as it was given")
async def an_accepted_job_is_read_back_as_it_was_given(lab: Lab) -> None:
    broker = lab.broker
    job = Job(
        id="018f-4a/b:c.d_e",
        type="email.send",
        payload='{"to":"ada@example.com","text":"äß\\u0000"}'.encode(),
        queue="mail.out",
        priority=Priority.HIGH,
        policy=Policy(
            max_attempts=7,
            retry=Delays(delays_ms=(1, 20), jitter=Jitter.FULL),
            retry_on=("builtins.OSError",),
            timeout_ms=30_000,
            on_crash=OnCrash.DEAD,
            retention_ms=None,
            remember_ms=DAY,
        ),
        due=After(5 * SECOND),
        expires=After(MINUTE),
        unique=Unique(key="welcome:ada", scope=Scope.WAITING),
        key="smtp",
        meta={"traceparent": "00-ab-cd-01"},
    )

    await stored(broker, job)

    assert (await known(broker, job)).job == job


@case("C102", "a stored job waits for its first claim")
async def a_stored_job_waits_for_its_first_claim(lab: Lab) -> None:
    broker = lab.broker
    job = make_job()

    answer = await broker.enqueue([job])

    record = await known(broker, job)
    assert list(answer.results) == [Applied(fence=record.head.fence)]
    assert (record.head.state, record.head.attempt) == (State.WAITING, 0)
    assert record.head.fence > 0
    assert lab.close_to(answer.now, await lab.now())
    assert lab.close_to(record.created, answer.now)
    assert record.head.due == record.created


@case("C103", "a delay is counted from broker time")
async def a_delay_is_counted_from_broker_time(lab: Lab) -> None:
    broker = lab.broker
    job = make_job(due=After(HOUR), expires=After(DAY))

    await stored(broker, job)

    head = (await known(broker, job)).head
    assert lab.close_to(head.due, await lab.now() + HOUR)
    assert lab.close_to(head.expires, await lab.now() + DAY)


@case("C104", "an instant is kept as it is")
async def an_instant_is_kept_as_it_is(lab: Lab) -> None:
    broker = lab.broker
    instant = await lab.now() + DAY
    job = make_job(due=At(instant), expires=At(instant + 1))

    await stored(broker, job)

    head = (await known(broker, job)).head
    assert (head.due, head.expires) == (instant, instant + 1)


@case("C105", "the same id again answers with the record that stands")
async def the_same_id_again_answers_with_the_record_that_stands(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job("a", payload=b'{"n":1}'))

    answer = await broker.enqueue([make_job("a", payload=b'{"n":2}')])

    (duplicate,) = answer.results
    assert isinstance(duplicate, Duplicate)
    assert ids([duplicate.record]) == ["a"]
    assert (await known(broker, Ref("default", "a"))).job.payload == b'{"n":1}'


@case("C106", "the same id twice in one call is stored once")
async def the_same_id_twice_in_one_call_is_stored_once(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    answer = await broker.enqueue([make_job("a"), make_job("a")])

    first, second = answer.results
    assert isinstance(first, Applied)
    assert isinstance(second, Duplicate)
    assert ids(await hand.claim()) == ["a"]


@case("C107", "the same id in calls at the same time is stored once", promises=(3,))
async def the_same_id_in_calls_at_the_same_time_is_stored_once(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    answers: list[object] = []

    async def enqueue() -> None:
        answers.extend((await broker.enqueue([make_job("a")])).results)

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(enqueue)

    assert sum(isinstance(answer, Applied) for answer in answers) == 1
    assert sum(isinstance(answer, Duplicate) for answer in answers) == 9
    assert len(await hand.claim()) == 1


@case("C108", "the same id in another queue is another job")
async def the_same_id_in_another_queue_is_another_job(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await stored(broker, make_job("a"), make_job("a", queue="mail"))

    claimed = await hand.claim(queues=["default", "mail"])

    assert [ref(record.job) for record in claimed] == [Ref("default", "a"), Ref("mail", "a")]


@case("C109", "the id of a finished job is still taken", promises=(3,))
async def the_id_of_a_finished_job_is_still_taken(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    job = make_job("a")
    await hand.run(job)

    (answer,) = (await broker.enqueue([job])).results

    assert isinstance(answer, Duplicate)
    assert answer.record.head.state is State.SUCCEEDED


@case("C110", "answers stand in the order of the jobs")
async def answers_stand_in_the_order_of_the_jobs(lab: Lab) -> None:
    broker = lab.broker
    await stored(broker, make_job("known"))
    too_large = make_job("large", payload=b'"' + b"x" * broker.max_record + b'"')

    answer = await broker.enqueue([make_job("a"), make_job("known"), too_large, make_job("b")])

    kinds = [type(result) for result in answer.results]
    assert kinds == [Applied, Duplicate, Refused, Applied]


@case("C111", "a payload over half a record is refused and nothing remains", promises=(10,))
async def a_payload_over_half_a_record_is_refused_and_nothing_remains(lab: Lab) -> None:
    broker = lab.broker
    job = make_job(payload=b'"' + b"x" * (broker.max_record // 2 - 1) + b'"')

    (answer,) = (await broker.enqueue([job])).results

    assert isinstance(answer, Refused)
    assert answer.code is RefusalCode.TOO_LARGE
    assert job.id in answer.detail
    assert list(await broker.get([ref(job)])) == [None]


@case("C112", "a payload of half a record is stored")
async def a_payload_of_half_a_record_is_stored(lab: Lab) -> None:
    broker = lab.broker
    job = make_job(payload=b'"' + b"x" * (broker.max_record // 2 - 2) + b'"')

    await stored(broker, job)

    assert len((await known(broker, job)).job.payload) == broker.max_record // 2


@case("C113", "a full queue refuses and names itself", promises=(13,))
async def a_full_queue_refuses_and_names_itself(lab: Lab) -> None:
    broker = lab.broker
    await broker.set_queue_limit("mail", 2)

    answer = await broker.enqueue([make_job(queue="mail") for _ in range(3)])

    refused = answer.results[2]
    assert [type(result) for result in answer.results[:2]] == [Applied, Applied]
    assert isinstance(refused, Refused)
    assert refused.code is RefusalCode.QUEUE_FULL
    assert "mail" in refused.detail


@case("C114", "a full queue leaves other queues alone")
async def a_full_queue_leaves_other_queues_alone(lab: Lab) -> None:
    broker = lab.broker
    await broker.set_queue_limit("mail", 0)

    await stored(broker, make_job(queue="default"))


@case("C115", "a full queue still knows its own jobs")
async def a_full_queue_still_knows_its_own_jobs(lab: Lab) -> None:
    broker = lab.broker
    await broker.set_queue_limit("default", 1)
    await stored(broker, make_job("a"))

    (answer,) = (await broker.enqueue([make_job("a")])).results

    assert isinstance(answer, Duplicate)


@case("C116", "a full queue takes jobs again when one was claimed")
async def a_full_queue_takes_jobs_again_when_one_was_claimed(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_queue_limit("default", 1)
    await stored(broker, make_job())
    await hand.claim_one()

    await stored(broker, make_job())


@case("C117", "a running job returns to a full queue")
async def a_running_job_returns_to_a_full_queue(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    await broker.set_queue_limit("default", 1)
    await stored(broker, make_job("a"))
    record = await hand.claim_one()
    await stored(broker, make_job("b"))

    await hand.end(record, HANDED_BACK)

    assert sorted(ids(await hand.claim())) == ["a", "b"]


@case("C118", "lifting the limit of a queue opens it")
async def lifting_the_limit_of_a_queue_opens_it(lab: Lab) -> None:
    broker = lab.broker
    await broker.set_queue_limit("default", 0)
    await broker.set_queue_limit("default", None)

    await stored(broker, make_job())


@case("C119", "a job after an unknown one is refused")
async def a_job_after_an_unknown_one_is_refused(lab: Lab) -> None:
    broker = lab.broker
    job = make_job(after=(Ref("default", "nobody"),))

    (answer,) = (await broker.enqueue([job])).results

    assert isinstance(answer, Refused)
    assert answer.code is RefusalCode.UNKNOWN_PARENT
    assert "nobody" in answer.detail
    assert list(await broker.get([ref(job)])) == [None]


@case("C120", "a thousand jobs fit into one call")
async def a_thousand_jobs_fit_into_one_call(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    jobs = [make_job() for _ in range(1_000)]

    await stored(broker, *jobs)

    assert ids(await hand.claim(1_000)) == [job.id for job in jobs]


@case("C121", "no job at all is no error")
async def no_job_at_all_is_no_error(lab: Lab) -> None:
    broker = lab.broker
    assert list((await broker.enqueue([])).results) == []


@case("C122", "a refused job leaves the others of its call alone")
async def a_refused_job_leaves_the_others_of_its_call_alone(lab: Lab) -> None:
    broker, hand = lab.broker, await lab.hand()
    child = make_job("child", after=(Ref("default", "nobody"),))

    answer = await broker.enqueue([make_job("a"), child, make_job("b")])

    assert [type(result) for result in answer.results] == [Applied, Refused, Applied]
    assert ids(await hand.claim()) == ["a", "b"]
    assert list(await broker.get([ref(child)])) == [None]


@case("C134", "a full queue refuses a job that comes alone", promises=(13,))
async def a_full_queue_refuses_a_job_that_comes_alone(lab: Lab) -> None:
    broker = lab.broker
    await broker.set_queue_limit("mail", 2)

    answers = [(await broker.enqueue([make_job(queue="mail")])).results[0] for _ in range(3)]

    assert [type(answer) for answer in answers] == [Applied, Applied, Refused]
