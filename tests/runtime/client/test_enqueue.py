"""Enqueueing: what is refused, what is stored once, and in which order."""

from __future__ import annotations

from random import Random

import anyio
import pytest
from msgspec import structs

from tests.support.clients import Shop, enqueue, held, make_job
from treadle.broker.base import Filter
from treadle.domain.job import After, Ref
from treadle.domain.state import Shown
from treadle.domain.unique import OnConflict
from treadle.errors import (
    ConfigurationError,
    KeyHeld,
    PayloadError,
    QueueFull,
    TooLarge,
)
from treadle.runtime.client import Client, plain_json
from treadle.runtime.handle import Job
from treadle.testing.virtual import LoopClock

pytestmark = pytest.mark.anyio


async def test_making_a_client_does_nothing(shop: Shop) -> None:
    shop.client()

    assert shop.arrived.connected == 0


async def test_enqueue_returns_a_handle_that_knows_what_was_sent(client: Client) -> None:
    job = await enqueue(client, queue="mail")

    assert (job.id, job.queue, job.type) == ("job-1", "mail", "email.send")
    assert (job.state, job.attempt, job.progress, job.record) == (Shown.QUEUED, 0, None, None)


async def test_a_handle_shows_that_a_delayed_job_is_scheduled(client: Client) -> None:
    job = await enqueue(client, due=After(60_000))

    assert job.state is Shown.SCHEDULED
    assert (await job.refresh()).state is Shown.SCHEDULED


async def test_nothing_enqueued_is_nothing_sent(shop: Shop, client: Client) -> None:
    assert await client.enqueue([]) == []
    assert shop.arrived.enqueues == []


@pytest.mark.promise(3)
async def test_the_same_id_twice_is_stored_once_and_gives_the_same_job(client: Client) -> None:
    first = await enqueue(client, payload=b'{"to":"ada"}')
    second = await enqueue(client, payload=b'{"to":"eve"}')

    assert first == second
    assert (await second.refresh()).record is not None
    assert (await client.get(Ref("", "job-1"))).job.payload == b'{"to":"ada"}'


@pytest.mark.promise(10)
async def test_the_same_id_twice_at_the_same_time_is_stored_once(client: Client) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(enqueue, client)

    (queue,) = (await client.stats()).queues
    assert queue.waiting == 1


@pytest.mark.promise(10)
async def test_a_payload_over_the_limit_is_refused_before_anything_is_sent(
    shop: Shop, client: Client
) -> None:
    jobs = [make_job("small"), make_job("large", payload=b'"' + b"x" * 1_000 + b'"')]

    with pytest.raises(TooLarge, match="1002 bytes, the limit is 1000"):
        await client.enqueue(jobs)

    assert shop.arrived.enqueues == []


async def test_a_payload_nested_too_deep_is_refused(shop: Shop, client: Client) -> None:
    with pytest.raises(PayloadError, match="nested deeper than 64"):
        await enqueue(client, payload=b"[" * 65 + b"]" * 65)

    assert shop.arrived.enqueues == []


async def test_many_brackets_are_not_too_deep(client: Client) -> None:
    await enqueue(client, payload=b"[" + b"{}," * 100 + b"{}]")


@pytest.mark.security(6)
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
    await enqueue(client, "first")

    with pytest.raises(QueueFull, match="job second"):
        await enqueue(client, "second")


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
    assert shop.arrived.enqueues == [1_000, 1_000, 500]
    assert [(await shop.claim()).job.id for _ in range(3)] == ["job-0000", "job-0001", "job-0002"]


async def test_a_held_key_gives_the_job_that_holds_it(client: Client) -> None:
    first = await enqueue(client, "first", unique=held(OnConflict.EXISTING))

    second = await enqueue(client, "second", unique=held(OnConflict.EXISTING))

    assert second == first


async def test_a_held_key_refuses_if_asked_to(client: Client) -> None:
    await enqueue(client, "first", unique=held(OnConflict.REJECT))

    with pytest.raises(KeyHeld, match="job first holds the unique key 'ada'"):
        await enqueue(client, "second", unique=held(OnConflict.REJECT))


async def test_a_waiting_holder_is_given_the_new_body(shop: Shop, client: Client) -> None:
    unique = held(OnConflict.REPLACE)
    await enqueue(client, "first", unique=unique, payload=b'{"n":1}', due=After(60_000))

    job = await enqueue(client, "second", unique=unique, payload=b'{"n":2}', due=After(0))

    record = await shop.claim()
    assert (job.id, record.job.id, record.job.payload) == ("first", "first", b'{"n":2}')


async def test_a_running_holder_is_not_replaced(shop: Shop, client: Client) -> None:
    unique = held(OnConflict.REPLACE)
    await enqueue(client, "first", unique=unique, payload=b'{"n":1}')
    await shop.claim()

    job = await enqueue(client, "second", unique=unique, payload=b'{"n":2}')

    assert (job.id, job.state) == ("first", Shown.RUNNING)
    assert (await client.get(Ref("", "first"))).job.payload == b'{"n":1}'


async def test_a_key_is_free_when_its_holder_is_final(shop: Shop, client: Client) -> None:
    unique = held(OnConflict.REJECT)
    await enqueue(client, "first", unique=unique)
    await shop.run()

    assert (await enqueue(client, "second", unique=unique)).id == "second"


async def test_a_job_can_be_found_by_its_id_alone(client: Client) -> None:
    job = await enqueue(client, queue="mail")

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
    await enqueue(client)
    wrong = Client(
        shop.root.another,
        clock=DayAhead(),
        rng=Random(1),
        decode=plain_json,
    )

    await wrong.cancel(Ref("default", "job-1"))

    (row,) = (await client.get(Ref("default", "job-1"))).history
    assert row.at == pytest.approx(shop.clock.time_ms(), abs=1_000)


async def test_a_client_disconnects_when_it_is_closed_and_connects_again(
    shop: Shop, client: Client
) -> None:
    await enqueue(client, "a")
    assert shop.arrived.connected == 1

    await client.close()
    await client.close()
    assert shop.arrived.connected == 0

    await enqueue(client, "b")
    assert shop.arrived.connected == 1
