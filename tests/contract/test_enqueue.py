"""`enqueue` stores each job once, or says why not."""

from __future__ import annotations

import anyio
import pytest

from tests.contract.clock import DAY, MINUTE, SECOND, MovableClock
from tests.contract.hand import HANDED_BACK, Hand, ids, known, make_job, ref, stored
from treadle.broker.base import Applied, Broker, Duplicate
from treadle.domain.job import After, At, Job, OnCrash, Policy, Priority, Ref
from treadle.domain.outcome import RefusalCode, Refused
from treadle.domain.retry import Delays, Jitter
from treadle.domain.state import State
from treadle.domain.unique import Scope, Unique

pytestmark = pytest.mark.anyio


async def test_an_accepted_job_is_read_back_as_it_was_given(broker: Broker) -> None:
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


async def test_a_stored_job_waits_for_its_first_claim(broker: Broker, clock: MovableClock) -> None:
    job = make_job()

    answer = await broker.enqueue([job])

    record = await known(broker, job)
    assert list(answer.results) == [Applied(fence=1)]
    assert (record.head.state, record.head.fence, record.head.attempt) == (State.WAITING, 1, 0)
    assert record.created == record.head.due == answer.now == clock.time_ms()


async def test_a_delay_is_counted_from_broker_time(broker: Broker, clock: MovableClock) -> None:
    job = make_job(due=After(MINUTE), expires=After(DAY))

    await stored(broker, job)

    head = (await known(broker, job)).head
    assert head.due == clock.time_ms() + MINUTE
    assert head.expires == clock.time_ms() + DAY


async def test_an_instant_is_kept_as_it_is(broker: Broker, clock: MovableClock) -> None:
    instant = clock.time_ms() + DAY
    job = make_job(due=At(instant), expires=At(instant + 1))

    await stored(broker, job)

    head = (await known(broker, job)).head
    assert (head.due, head.expires) == (instant, instant + 1)


async def test_the_same_id_again_answers_with_the_record_that_stands(broker: Broker) -> None:
    await stored(broker, make_job("a", payload=b'{"n":1}'))

    answer = await broker.enqueue([make_job("a", payload=b'{"n":2}')])

    (duplicate,) = answer.results
    assert isinstance(duplicate, Duplicate)
    assert ids([duplicate.record]) == ["a"]
    assert (await known(broker, Ref("default", "a"))).job.payload == b'{"n":1}'


async def test_the_same_id_twice_in_one_call_is_stored_once(broker: Broker, hand: Hand) -> None:
    answer = await broker.enqueue([make_job("a"), make_job("a")])

    first, second = answer.results
    assert isinstance(first, Applied)
    assert isinstance(second, Duplicate)
    assert ids(await hand.claim()) == ["a"]


@pytest.mark.promise(3)
async def test_the_same_id_in_calls_at_the_same_time_is_stored_once(
    broker: Broker, hand: Hand
) -> None:
    answers: list[object] = []

    async def enqueue() -> None:
        answers.extend((await broker.enqueue([make_job("a")])).results)

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(enqueue)

    assert sum(isinstance(answer, Applied) for answer in answers) == 1
    assert sum(isinstance(answer, Duplicate) for answer in answers) == 9
    assert len(await hand.claim()) == 1


async def test_the_same_id_in_another_queue_is_another_job(broker: Broker, hand: Hand) -> None:
    await stored(broker, make_job("a"), make_job("a", queue="mail"))

    claimed = await hand.claim(queues=["default", "mail"])

    assert [ref(record.job) for record in claimed] == [Ref("default", "a"), Ref("mail", "a")]


@pytest.mark.promise(3)
async def test_the_id_of_a_finished_job_is_still_taken(broker: Broker, hand: Hand) -> None:
    job = make_job("a")
    await hand.run(job)

    (answer,) = (await broker.enqueue([job])).results

    assert isinstance(answer, Duplicate)
    assert answer.record.head.state is State.SUCCEEDED


async def test_answers_stand_in_the_order_of_the_jobs(broker: Broker) -> None:
    await stored(broker, make_job("known"))
    too_large = make_job("large", payload=b'"' + b"x" * broker.max_record + b'"')

    answer = await broker.enqueue([make_job("a"), make_job("known"), too_large, make_job("b")])

    kinds = [type(result) for result in answer.results]
    assert kinds == [Applied, Duplicate, Refused, Applied]


@pytest.mark.promise(10)
async def test_a_payload_over_half_a_record_is_refused_and_nothing_remains(broker: Broker) -> None:
    job = make_job(payload=b'"' + b"x" * (broker.max_record // 2 - 1) + b'"')

    (answer,) = (await broker.enqueue([job])).results

    assert isinstance(answer, Refused)
    assert answer.code is RefusalCode.TOO_LARGE
    assert job.id in answer.detail
    assert list(await broker.get([ref(job)])) == [None]


async def test_a_payload_of_half_a_record_is_stored(broker: Broker) -> None:
    job = make_job(payload=b'"' + b"x" * (broker.max_record // 2 - 2) + b'"')

    await stored(broker, job)

    assert len((await known(broker, job)).job.payload) == broker.max_record // 2


@pytest.mark.promise(13)
async def test_a_full_queue_refuses_and_names_itself(broker: Broker) -> None:
    await broker.set_queue_limit("mail", 2)

    answer = await broker.enqueue([make_job(queue="mail") for _ in range(3)])

    refused = answer.results[2]
    assert [type(result) for result in answer.results[:2]] == [Applied, Applied]
    assert isinstance(refused, Refused)
    assert refused.code is RefusalCode.QUEUE_FULL
    assert "mail" in refused.detail


async def test_a_full_queue_leaves_other_queues_alone(broker: Broker) -> None:
    await broker.set_queue_limit("mail", 0)

    await stored(broker, make_job(queue="default"))


async def test_a_full_queue_still_knows_its_own_jobs(broker: Broker) -> None:
    await broker.set_queue_limit("default", 1)
    await stored(broker, make_job("a"))

    (answer,) = (await broker.enqueue([make_job("a")])).results

    assert isinstance(answer, Duplicate)


async def test_a_full_queue_takes_jobs_again_when_one_was_claimed(
    broker: Broker, hand: Hand
) -> None:
    await broker.set_queue_limit("default", 1)
    await stored(broker, make_job())
    await hand.claim_one()

    await stored(broker, make_job())


async def test_a_running_job_returns_to_a_full_queue(broker: Broker, hand: Hand) -> None:
    await broker.set_queue_limit("default", 1)
    await stored(broker, make_job("a"))
    record = await hand.claim_one()
    await stored(broker, make_job("b"))

    await hand.end(record, HANDED_BACK)

    assert sorted(ids(await hand.claim())) == ["a", "b"]


async def test_lifting_the_limit_of_a_queue_opens_it(broker: Broker) -> None:
    await broker.set_queue_limit("default", 0)
    await broker.set_queue_limit("default", None)

    await stored(broker, make_job())


async def test_a_job_after_an_unknown_one_is_refused(broker: Broker) -> None:
    job = make_job(after=(Ref("default", "nobody"),))

    (answer,) = (await broker.enqueue([job])).results

    assert isinstance(answer, Refused)
    assert answer.code is RefusalCode.UNKNOWN_PARENT
    assert "nobody" in answer.detail
    assert list(await broker.get([ref(job)])) == [None]


async def test_a_thousand_jobs_fit_into_one_call(broker: Broker, hand: Hand) -> None:
    jobs = [make_job() for _ in range(1_000)]

    await stored(broker, *jobs)

    assert ids(await hand.claim(1_000)) == [job.id for job in jobs]


async def test_no_job_at_all_is_no_error(broker: Broker) -> None:
    assert list((await broker.enqueue([])).results) == []
