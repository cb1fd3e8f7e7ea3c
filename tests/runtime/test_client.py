"""The client: three outcomes of an enqueue, group commit, results, and what people ask of jobs."""

from __future__ import annotations

from random import Random
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from msgspec import structs

from tests.support.clients import PLAIN, Shop, make_job
from tests.support.virtual import LoopClock
from treadle.broker.base import Durability, Filter
from treadle.domain.job import After, ErrorInfo, Policy, Ref
from treadle.domain.outcome import Cancelled, Failed, Succeeded
from treadle.domain.state import Shown, State
from treadle.domain.unique import OnConflict, Unique
from treadle.errors import (
    BrokerRefused,
    BrokerUnavailable,
    ConfigurationError,
    IllegalTransition,
    JobCancelled,
    JobDead,
    JobNotFound,
    KeyHeld,
    NotAccepted,
    PayloadError,
    QueueFull,
    ResultGone,
    ResultTimeout,
    TooLarge,
    TreadleError,
    Uncertain,
)
from treadle.runtime.client import Client
from treadle.runtime.handle import Job

pytestmark = pytest.mark.anyio

ONCE = Policy(max_attempts=1)
ERROR = ErrorInfo(type="ValueError", message="no such address", traceback="Traceback: line 1")


@pytest.fixture
async def shop(anyio_backend: Any) -> Shop:
    """Open a shop on virtual time."""
    return Shop(LoopClock())


@pytest.fixture
async def client(shop: Shop) -> Client:
    """Be its customer."""
    return shop.client()


async def _enqueue(client: Client, id: str = "job-1", **over: Any) -> Job[Any]:
    (job,) = await client.enqueue([make_job(id, **over)])
    return job


# Enqueueing


async def test_making_a_client_does_nothing(shop: Shop) -> None:
    shop.client()

    assert shop.network.connected == 0


async def test_enqueue_returns_a_handle_that_knows_what_was_sent(client: Client) -> None:
    job = await _enqueue(client, queue="mail")

    assert (job.id, job.queue, job.type) == ("job-1", "mail", "email.send")
    assert (job.state, job.attempt, job.progress, job.record) == (Shown.QUEUED, 0, None, None)


async def test_a_handle_shows_that_a_delayed_job_is_scheduled(client: Client) -> None:
    job = await _enqueue(client, due=After(60_000))

    assert job.state is Shown.SCHEDULED
    assert (await job.refresh()).state is Shown.SCHEDULED


async def test_nothing_enqueued_is_nothing_sent(shop: Shop, client: Client) -> None:
    assert await client.enqueue([]) == []
    assert shop.network.enqueues == []


@pytest.mark.promise(3)
async def test_the_same_id_twice_is_stored_once_and_gives_the_same_job(client: Client) -> None:
    first = await _enqueue(client, payload=b'{"to":"ada"}')
    second = await _enqueue(client, payload=b'{"to":"eve"}')

    assert first == second
    assert (await second.refresh()).record is not None
    assert (await client.get(Ref("", "job-1"))).job.payload == b'{"to":"ada"}'


@pytest.mark.promise(10)
async def test_the_same_id_twice_at_the_same_time_is_stored_once(client: Client) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(_enqueue, client)

    (queue,) = (await client.stats()).queues
    assert queue.waiting == 1


@pytest.mark.promise(10)
async def test_a_payload_over_the_limit_is_refused_before_anything_is_sent(
    shop: Shop, client: Client
) -> None:
    jobs = [make_job("small"), make_job("large", payload=b'"' + b"x" * 1_000 + b'"')]

    with pytest.raises(TooLarge, match="1002 bytes, the limit is 1000"):
        await client.enqueue(jobs)

    assert shop.network.enqueues == []


async def test_a_payload_nested_too_deep_is_refused(shop: Shop, client: Client) -> None:
    with pytest.raises(PayloadError, match="nested deeper than 64"):
        await _enqueue(client, payload=b"[" * 65 + b"]" * 65)

    assert shop.network.enqueues == []


async def test_many_brackets_are_not_too_deep(client: Client) -> None:
    await _enqueue(client, payload=b"[" + b"{}," * 100 + b"{}]")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ""),
        ("id", "a b"),
        ("id", "ä"),
        ("id", "x" * 129),
        ("queue", "a/b"),
        ("queue", ""),
        ("type", "a*"),
    ],
)
async def test_what_is_no_name_is_refused(client: Client, field: str, value: str) -> None:
    job = structs.replace(make_job(), **{field: value})

    with pytest.raises(ConfigurationError, match=f"{field} "):
        await client.enqueue([make_job("good"), job])


@pytest.mark.promise(13)
async def test_a_full_queue_is_an_error(client: Client) -> None:
    await (await client.broker()).set_queue_limit("default", 1)
    await _enqueue(client, "first")

    with pytest.raises(QueueFull, match="job second"):
        await _enqueue(client, "second")


@pytest.mark.promise(3, 13)
async def test_a_partial_refusal_says_how_many_and_which_and_the_accepted_stay(
    client: Client,
) -> None:
    await (await client.broker()).set_queue_limit("small", 2)
    jobs = [make_job(f"job-{n}", queue="small") for n in range(5)]

    with pytest.raises(QueueFull) as caught:
        await client.enqueue(jobs)

    assert str(caught.value).startswith(
        "3 of 5 jobs were not accepted (2 accepted, 0 not tried): job-2, job-3, job-4. First: "
    )
    (queue,) = (await client.stats()).queues
    assert queue.waiting == 2


@pytest.mark.promise(3)
async def test_offer_answers_for_each_job(client: Client) -> None:
    await (await client.broker()).set_queue_limit("small", 1)

    stored, refused = await client.offer([make_job(f"job-{n}", queue="small") for n in range(2)])

    assert isinstance(stored, Job)
    assert isinstance(refused, QueueFull)


async def test_many_jobs_go_in_calls_of_1000_and_keep_their_order(
    shop: Shop, client: Client
) -> None:
    jobs = [make_job(f"job-{n:04}") for n in range(2_500)]

    handles = await client.enqueue(jobs)

    assert [handle.id for handle in handles] == [job.id for job in jobs]
    assert shop.network.enqueues == [1_000, 1_000, 500]
    assert [(await shop.claim()).job.id for _ in range(3)] == ["job-0000", "job-0001", "job-0002"]


# Unique keys


def _unique(on_conflict: OnConflict) -> Unique:
    return Unique(key="ada", on_conflict=on_conflict)


async def test_a_held_key_gives_the_job_that_holds_it(client: Client) -> None:
    first = await _enqueue(client, "first", unique=_unique(OnConflict.EXISTING))

    second = await _enqueue(client, "second", unique=_unique(OnConflict.EXISTING))

    assert second == first


async def test_a_held_key_refuses_if_asked_to(client: Client) -> None:
    await _enqueue(client, "first", unique=_unique(OnConflict.REJECT))

    with pytest.raises(KeyHeld, match="job first holds the unique key 'ada'"):
        await _enqueue(client, "second", unique=_unique(OnConflict.REJECT))


async def test_a_waiting_holder_is_given_the_new_body(shop: Shop, client: Client) -> None:
    unique = _unique(OnConflict.REPLACE)
    await _enqueue(client, "first", unique=unique, payload=b'{"n":1}', due=After(60_000))

    job = await _enqueue(client, "second", unique=unique, payload=b'{"n":2}', due=After(0))

    record = await shop.claim()
    assert (job.id, record.job.id, record.job.payload) == ("first", "first", b'{"n":2}')


async def test_a_running_holder_is_not_replaced(shop: Shop, client: Client) -> None:
    unique = _unique(OnConflict.REPLACE)
    await _enqueue(client, "first", unique=unique, payload=b'{"n":1}')
    await shop.claim()

    job = await _enqueue(client, "second", unique=unique, payload=b'{"n":2}')

    assert (job.id, job.state) == ("first", Shown.RUNNING)
    assert (await client.get(Ref("", "first"))).job.payload == b'{"n":1}'


async def test_a_key_is_free_when_its_holder_is_final(shop: Shop, client: Client) -> None:
    unique = _unique(OnConflict.REJECT)
    await _enqueue(client, "first", unique=unique)
    await shop.run()

    assert (await _enqueue(client, "second", unique=unique)).id == "second"


# Three outcomes in bounded time


@pytest.mark.promise(3)
async def test_a_broker_that_refuses_the_connection_accepts_nothing(
    shop: Shop, client: Client
) -> None:
    shop.network.refuse = True

    with pytest.raises(NotAccepted, match="nothing was stored: cannot reach the broker") as caught:
        await _enqueue(client)

    assert isinstance(caught.value.__cause__, BrokerUnavailable)


@pytest.mark.promise(3)
async def test_a_broker_that_does_not_answer_is_uncertain_after_5_s(
    shop: Shop, client: Client
) -> None:
    await client.broker()
    shop.network.hang()
    started = anyio.current_time()

    with pytest.raises(Uncertain, match="did not answer within 5 s") as caught:
        await _enqueue(client)

    assert caught.value.ids == ("job-1",)
    assert anyio.current_time() - started == pytest.approx(5)


@pytest.mark.promise(3)
async def test_a_connection_that_hangs_accepts_nothing_after_5_s(
    shop: Shop, client: Client
) -> None:
    shop.network.hang_connecting = True
    started = anyio.current_time()

    with pytest.raises(NotAccepted, match="did not answer within 5 s"):
        await _enqueue(client)

    assert anyio.current_time() - started == pytest.approx(5)


@pytest.mark.promise(3)
async def test_who_waits_behind_a_hanging_call_is_told_in_time_too(
    shop: Shop, client: Client
) -> None:
    await client.broker()
    shop.network.hang()
    told: dict[str, tuple[type[TreadleError], float]] = {}

    async def enqueue(id: str, after: float) -> None:
        await anyio.sleep(after)
        started = anyio.current_time()
        try:
            await _enqueue(client, id)
        except TreadleError as error:
            told[id] = (type(error), round(anyio.current_time() - started, 3))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enqueue, "first", 0)
        tasks.start_soon(enqueue, "second", 1)
        tasks.start_soon(enqueue, "third", 4.5)

    assert told == {"first": (Uncertain, 5), "second": (Uncertain, 5), "third": (Uncertain, 5)}


@pytest.mark.promise(3)
async def test_a_job_that_was_never_sent_was_not_accepted(shop: Shop, client: Client) -> None:
    await client.broker()
    shop.network.hang()
    told: dict[str, type[TreadleError]] = {}

    async def enqueue(id: str) -> None:
        try:
            await _enqueue(client, id)
        except TreadleError as error:
            told[id] = type(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enqueue, "first")
        for _ in range(5):
            await checkpoint()
        tasks.start_soon(enqueue, "second")

    assert told == {"first": Uncertain, "second": NotAccepted}


@pytest.mark.promise(1, 3)
async def test_a_lost_reply_is_asked_for_again_and_stores_once(shop: Shop, client: Client) -> None:
    shop.network.lose_replies = 1

    job = await _enqueue(client)

    (queue,) = (await client.stats()).queues
    assert (job.id, queue.waiting) == ("job-1", 1)
    assert shop.network.enqueues == [1, 1]


@pytest.mark.promise(3)
async def test_replies_that_stay_lost_are_uncertain(shop: Shop, client: Client) -> None:
    shop.network.lose_replies = 1_000
    started = anyio.current_time()

    with pytest.raises(Uncertain) as caught:
        await client.enqueue([make_job("a"), make_job("b")])

    assert caught.value.ids == ("a", "b")
    assert anyio.current_time() - started == pytest.approx(5)


@pytest.mark.promise(2)
async def test_a_broker_that_promises_less_than_was_asked_for_is_refused(shop: Shop) -> None:
    client = shop.client(durability=Durability.POWER_LOSS)

    with pytest.raises(BrokerRefused, match=r"promises durability 'none'.*asks for 'power-loss'"):
        await _enqueue(client)


# Group commit


async def test_callers_that_enqueue_at_the_same_time_share_calls(
    shop: Shop, client: Client
) -> None:
    async def enqueue(number: int) -> None:
        for turn in range(10):
            await _enqueue(client, f"job-{number}-{turn}")

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(enqueue, number)

    assert sum(shop.network.enqueues) == 1_000
    assert len(shop.network.enqueues) <= 30


async def test_one_caller_alone_is_sent_at_once(shop: Shop, client: Client) -> None:
    started = anyio.current_time()

    for number in range(3):
        await _enqueue(client, f"job-{number}")

    assert shop.network.enqueues == [1, 1, 1]
    assert anyio.current_time() - started < 0.001


@pytest.mark.promise(1)
@pytest.mark.parametrize("kept", range(4))
async def test_cancelling_who_leads_does_not_harm_who_came_along(
    shop: Shop, client: Client, kept: int
) -> None:
    await client.broker()
    shop.network.hang()
    scopes = [anyio.CancelScope() for _ in range(4)]
    stored: list[str] = []

    async def enqueue(number: int) -> None:
        with scopes[number]:
            stored.append((await _enqueue(client, f"job-{number}")).id)

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(enqueue, number)
        for number in set(range(4)) - {kept}:
            await anyio.sleep(0.1)
            scopes[number].cancel()
        await anyio.sleep(0.1)
        shop.network.move()

    assert stored == [f"job-{kept}"]
    assert (await client.get(Ref("", f"job-{kept}"))).head.state is State.WAITING


async def test_all_callers_of_a_flight_can_be_cancelled_and_the_next_one_flies(
    shop: Shop, client: Client
) -> None:
    await client.broker()
    shop.network.hang()
    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(_enqueue, client, f"job-{number}")
        await anyio.sleep(0.1)
        tasks.cancel_scope.cancel()
    shop.network.move()

    assert (await _enqueue(client, "next")).id == "next"


# Results


async def test_a_result_is_waited_for_and_decoded_by_type(shop: Shop, client: Client) -> None:
    job = await _enqueue(client)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shop.run)
        result = await job.result(timeout=5)

    assert result == ("email.send", 42)


async def test_a_job_without_a_result_gives_none(shop: Shop, client: Client) -> None:
    job = await _enqueue(client)
    await shop.run(Succeeded())

    assert await job.result() is None


async def test_a_dead_job_raises_with_the_traceback_of_the_worker(
    shop: Shop, client: Client
) -> None:
    job = await _enqueue(client, policy=ONCE)
    await shop.run(Failed(error=ERROR))

    with pytest.raises(
        JobDead, match="exhausted after 1 attempts: ValueError: no such address"
    ) as caught:
        await job.result()

    assert (caught.value.id, caught.value.reason) == ("job-1", "exhausted")
    assert caught.value.remote_traceback == "Traceback: line 1"
    assert any("Traceback: line 1" in note for note in caught.value.__notes__)


async def test_a_cancelled_job_raises(shop: Shop, client: Client) -> None:
    job = await _enqueue(client)
    await shop.run(Cancelled(detail="not wanted"))

    with pytest.raises(JobCancelled, match=r"job job-1 .* is cancelled"):
        await job.result()


@pytest.mark.parametrize("timeout", [0, 0.5, 7])
async def test_a_result_that_does_not_come_in_time_is_a_timeout(
    client: Client, timeout: float
) -> None:
    job = await _enqueue(client)
    started = anyio.current_time()

    with pytest.raises(ResultTimeout, match="was not final after"):
        await job.result(timeout=timeout)

    assert anyio.current_time() - started == pytest.approx(timeout)
    assert (await job.refresh()).state is Shown.QUEUED


async def test_a_final_job_is_told_at_once_with_no_time_at_all(shop: Shop, client: Client) -> None:
    job = await _enqueue(client)
    await shop.run()

    assert await job.result(timeout=0) == ("email.send", 42)


async def test_a_purged_result_is_gone(shop: Shop, client: Client) -> None:
    job = await _enqueue(client, policy=structs.replace(PLAIN, retention_ms=1_000))
    await shop.run()
    await anyio.sleep(2)
    await shop.hand.purge(10)

    with pytest.raises(ResultGone, match="its result is no longer kept"):
        await job.result()


async def test_the_result_of_a_job_nobody_knows_is_gone(shop: Shop, client: Client) -> None:
    job = await _enqueue(client, policy=structs.replace(PLAIN, retention_ms=0, remember_ms=0))
    await shop.run()
    await anyio.sleep(1)
    await shop.hand.purge(10)
    await shop.hand.purge(10)

    with pytest.raises(ResultGone):
        await job.result()
    with pytest.raises(JobNotFound):
        await client.result(Ref("default", "job-1"))


async def test_a_result_is_found_although_its_event_was_lost(shop: Shop, client: Client) -> None:
    job = await _enqueue(client)
    shop.network.silent_events = True
    started = anyio.current_time()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_run_after, shop, 1.0)
        assert await job.result() == ("email.send", 42)

    assert anyio.current_time() - started <= 4


async def _run_after(shop: Shop, seconds: float) -> None:
    await anyio.sleep(seconds)
    await shop.run()


async def test_many_can_wait_for_results_and_some_give_up(shop: Shop, client: Client) -> None:
    jobs = await client.enqueue([make_job(f"job-{n:02}") for n in range(50)])
    got: list[str] = []
    late: list[str] = []

    async def wait(job: Job[Any], timeout: float) -> None:
        try:
            await job.result(timeout=timeout)
            got.append(job.id)
        except ResultTimeout:
            late.append(job.id)

    async with anyio.create_task_group() as tasks:
        for number, job in enumerate(jobs):
            tasks.start_soon(wait, job, 0.5 if number < 10 else 1_000)
        await anyio.sleep(1)
        for _ in jobs:
            await shop.run()
            await anyio.sleep(0.01)

    assert (len(got), len(late)) == (40, 10)


# What people ask of jobs


async def test_a_waiting_job_is_cancelled_at_once(client: Client) -> None:
    job = await _enqueue(client)

    await job.cancel()

    assert job.state is Shown.CANCELLED


async def test_the_worker_of_a_running_job_is_asked_to_cancel_it(
    shop: Shop, client: Client
) -> None:
    job = await _enqueue(client)
    await shop.claim()

    await job.cancel()
    await job.cancel()

    assert job.state is Shown.RUNNING
    assert job.record is not None
    assert job.record.head.cancel


async def test_a_final_job_cannot_be_cancelled(shop: Shop, client: Client) -> None:
    job = await _enqueue(client)
    await shop.run()

    with pytest.raises(IllegalTransition, match="is succeeded: it cannot cancel"):
        await job.cancel()


async def test_a_dead_job_can_be_retried(shop: Shop, client: Client) -> None:
    job = await _enqueue(client, policy=ONCE)
    await shop.run(Failed(error=ERROR))

    await job.retry()
    assert job.state is Shown.QUEUED
    await shop.run()

    assert await job.result() == ("email.send", 42)


async def test_a_retry_whose_unique_key_was_taken_meanwhile_is_refused(
    shop: Shop, client: Client
) -> None:
    first = await _enqueue(client, "first", unique=_unique(OnConflict.REJECT))
    await shop.run()
    await _enqueue(client, "second", unique=_unique(OnConflict.REJECT))

    with pytest.raises(KeyHeld, match="job second holds its unique key 'ada' now"):
        await first.retry()


async def test_a_final_job_can_be_discarded(shop: Shop, client: Client) -> None:
    job = await _enqueue(client)
    await shop.run()

    await client.discard(Ref("default", "job-1"))

    with pytest.raises(JobNotFound, match="its record was purged"):
        await client.cancel(Ref("default", "job-1"))
    with pytest.raises(ResultGone):
        await job.result()


async def test_a_waiting_job_can_be_moved_in_time(client: Client) -> None:
    job = await _enqueue(client)

    await client.reschedule(Ref("default", "job-1"), After(60_000))

    assert (await job.refresh()).state is Shown.SCHEDULED


async def test_an_unknown_job_is_named(client: Client) -> None:
    for ask in (client.cancel, client.retry, client.discard, client.get):
        with pytest.raises(JobNotFound, match="no job nobody in queue default"):
            await ask(Ref("default", "nobody"))


async def test_many_can_be_asked_at_once_and_each_is_answered_for(
    shop: Shop, client: Client
) -> None:
    from treadle.domain.outcome import CancelAsked

    jobs = await client.enqueue([make_job(f"job-{n:04}") for n in range(1_200)])
    await shop.run()
    refs = [Ref(job.queue, job.id) for job in jobs]

    answers = await client.ask([*refs, Ref("", "nobody")], CancelAsked(by="me"))

    assert isinstance(answers[0], IllegalTransition)
    assert isinstance(answers[-1], JobNotFound)
    assert answers[1:-1] == [None] * 1_199
    (queue,) = (await client.stats()).queues
    assert queue.cancelled == 1_199


@pytest.mark.promise(4)
async def test_who_is_second_decides_again_with_what_stands(shop: Shop, client: Client) -> None:
    job = await _enqueue(client, policy=ONCE)
    await shop.run(Failed(error=ERROR))
    told: list[str] = []

    async def retry() -> None:
        try:
            await job.retry()
            told.append("retried")
        except IllegalTransition:
            told.append("too late")

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(retry)

    record = await client.get(Ref("default", "job-1"))
    assert "retried" in told
    assert [row.event for row in record.history].count("retry") == 1


@pytest.mark.promise(4)
async def test_a_write_whose_reply_was_lost_counts_as_done(shop: Shop, client: Client) -> None:
    job = await _enqueue(client)
    await client.stats()
    shop.network.lose_replies = 1

    await job.cancel()

    assert job.state is Shown.CANCELLED


# Reading


async def test_a_job_can_be_found_by_its_id_alone(client: Client) -> None:
    job = await _enqueue(client, queue="mail")

    assert await client.handle("job-1") == job
    assert repr(job) == "<Job job-1 email.send queue=mail queued>"


async def test_jobs_can_be_listed_and_counted(client: Client) -> None:
    await client.enqueue([make_job("a"), make_job("b", queue="mail")])

    page = await client.find(Filter(queue="mail"))

    assert [record.job.id for record in page.records] == ["b"]
    assert {queue.queue for queue in (await client.stats()).queues} == {"default", "mail"}


@pytest.mark.promise(11)
async def test_what_a_client_decides_follows_the_clock_of_the_broker(shop: Shop) -> None:
    class DayAhead(LoopClock):
        def time_ms(self) -> int:
            return super().time_ms() + 86_400_000

    client = shop.client()
    await _enqueue(client)
    wrong = Client(
        shop.root.another,
        clock=DayAhead(),
        rng=Random(1),
        decode=lambda *_: None,
    )

    await wrong.cancel(Ref("default", "job-1"))

    (row,) = (await client.get(Ref("default", "job-1"))).history
    assert row.at == pytest.approx(shop.clock.time_ms(), abs=1_000)


async def test_a_client_disconnects_when_it_is_closed_and_connects_again(
    shop: Shop, client: Client
) -> None:
    await _enqueue(client, "a")
    assert shop.network.connected == 1

    await client.close()
    await client.close()
    assert shop.network.connected == 0

    await _enqueue(client, "b")
    assert shop.network.connected == 1
