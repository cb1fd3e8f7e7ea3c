"""Three outcomes of an enqueue in bounded time, and group commit."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.support.clients import Shop, enqueue, held, make_job
from treadle.broker.base import Durability
from treadle.conformance.faults import Fault
from treadle.domain.job import After, Ref
from treadle.domain.state import State
from treadle.domain.unique import OnConflict
from treadle.errors import (
    BrokerRefused,
    BrokerUnavailable,
    NotAccepted,
    TreadleError,
    Uncertain,
)
from treadle.runtime.client import Client

pytestmark = pytest.mark.anyio


@pytest.mark.promise(3)
async def test_a_broker_that_refuses_the_connection_accepts_nothing(
    shop: Shop, client: Client
) -> None:
    shop.faults.cut("connect", "enqueue")

    with pytest.raises(NotAccepted, match="nothing was stored: cannot reach the broker") as caught:
        await enqueue(client)

    assert isinstance(caught.value.__cause__, BrokerUnavailable)


@pytest.mark.promise(3)
async def test_a_broker_that_does_not_answer_is_uncertain_after_5_s(
    shop: Shop, client: Client
) -> None:
    await client.broker()
    shop.faults.hold("enqueue")
    started = anyio.current_time()

    with pytest.raises(Uncertain, match="did not answer within 5 s") as caught:
        await enqueue(client)

    assert caught.value.ids == ("job-1",)
    assert anyio.current_time() - started == pytest.approx(5)


@pytest.mark.promise(3)
async def test_a_connection_that_hangs_accepts_nothing_after_5_s(
    shop: Shop, client: Client
) -> None:
    shop.faults.hold("connect")
    started = anyio.current_time()

    with pytest.raises(NotAccepted, match="did not answer within 5 s"):
        await enqueue(client)

    assert anyio.current_time() - started == pytest.approx(5)


@pytest.mark.promise(3)
async def test_who_waits_behind_a_hanging_call_is_told_in_time_too(
    shop: Shop, client: Client
) -> None:
    await client.broker()
    shop.faults.hold("enqueue")
    told: dict[str, tuple[type[TreadleError], float]] = {}

    async def customer(id: str, after: float) -> None:
        await anyio.sleep(after)
        started = anyio.current_time()
        try:
            await enqueue(client, id)
        except TreadleError as error:
            told[id] = (type(error), round(anyio.current_time() - started, 3))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(customer, "first", 0)
        tasks.start_soon(customer, "second", 1)
        tasks.start_soon(customer, "third", 4.5)

    assert told == {"first": (Uncertain, 5), "second": (Uncertain, 5), "third": (Uncertain, 5)}


@pytest.mark.promise(3)
async def test_a_job_that_was_never_sent_was_not_accepted(shop: Shop, client: Client) -> None:
    await client.broker()
    shop.faults.hold("enqueue")
    told: dict[str, type[TreadleError]] = {}

    async def customer(id: str) -> None:
        try:
            await enqueue(client, id)
        except TreadleError as error:
            told[id] = type(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(customer, "first")
        for _ in range(5):
            await checkpoint()
        tasks.start_soon(customer, "second")

    assert told == {"first": Uncertain, "second": NotAccepted}


@pytest.mark.promise(1, 3)
async def test_a_lost_reply_is_asked_for_again_and_stores_once(shop: Shop, client: Client) -> None:
    shop.faults.script("enqueue", Fault.LOSE_REPLY)

    job = await enqueue(client)

    (queue,) = (await client.stats()).queues
    assert (job.id, queue.waiting) == ("job-1", 1)
    assert shop.arrived.enqueues == [1, 1]


@pytest.mark.promise(3)
async def test_who_stored_a_job_is_not_known_if_its_reply_was_lost(
    shop: Shop, client: Client
) -> None:
    first = await enqueue(client, "new")
    again = await enqueue(client, "new")
    shop.faults.script("enqueue", Fault.LOSE_REPLY)
    lost = await enqueue(client, "lost", due=After(60_000))
    shop.faults.script("enqueue", Fault.LOSE_REPLY)
    other = await enqueue(client, "lost", payload=b'{"to":"eve"}')

    assert (first.is_new, again.is_new) == (True, False)
    assert lost.is_new is None, "it is there with the same content"
    assert other.is_new is False, "it is there with another content"


@pytest.mark.promise(3)
async def test_a_key_that_another_job_holds_after_a_lost_reply_is_another_job(
    shop: Shop, client: Client
) -> None:
    await enqueue(client, "holder", unique=held(OnConflict.EXISTING))
    shop.faults.script("enqueue", Fault.LOSE_REPLY)

    job = await enqueue(client, "late", unique=held(OnConflict.EXISTING))

    assert (job.id, job.is_new) == ("holder", False)


@pytest.mark.promise(3)
async def test_replies_that_stay_lost_are_uncertain(shop: Shop, client: Client) -> None:
    shop.faults.script("enqueue", *[Fault.LOSE_REPLY] * 1_000)
    started = anyio.current_time()

    with pytest.raises(Uncertain) as caught:
        await client.enqueue([make_job("a"), make_job("b")])

    assert caught.value.ids == ("a", "b")
    assert anyio.current_time() - started == pytest.approx(5)


@pytest.mark.promise(2)
async def test_a_broker_that_promises_less_than_was_asked_for_is_refused(shop: Shop) -> None:
    client = shop.client(durability=Durability.POWER_LOSS)

    with pytest.raises(BrokerRefused, match=r"promises durability 'none'.*asks for 'power-loss'"):
        await enqueue(client)


async def test_callers_that_enqueue_at_the_same_time_share_calls(
    shop: Shop, client: Client
) -> None:
    async def customer(number: int) -> None:
        for turn in range(10):
            await enqueue(client, f"job-{number}-{turn}")

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(customer, number)

    assert sum(shop.arrived.enqueues) == 1_000
    assert len(shop.arrived.enqueues) <= 30


async def test_one_caller_alone_is_sent_at_once(shop: Shop, client: Client) -> None:
    started = anyio.current_time()

    for number in range(3):
        await enqueue(client, f"job-{number}")

    assert shop.arrived.enqueues == [1, 1, 1]
    assert anyio.current_time() - started < 0.001


@pytest.mark.promise(1)
@pytest.mark.parametrize("kept", range(4))
async def test_cancelling_who_leads_does_not_harm_who_came_along(
    shop: Shop, client: Client, kept: int
) -> None:
    await client.broker()
    shop.faults.hold("enqueue")
    scopes = [anyio.CancelScope() for _ in range(4)]
    stored: list[str] = []

    async def customer(number: int) -> None:
        with scopes[number]:
            stored.append((await enqueue(client, f"job-{number}")).id)

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(customer, number)
        for number in set(range(4)) - {kept}:
            await anyio.sleep(0.1)
            scopes[number].cancel()
        await anyio.sleep(0.1)
        shop.faults.let_go("enqueue")

    assert stored == [f"job-{kept}"]
    assert (await client.get(Ref("", f"job-{kept}"))).head.state is State.WAITING


async def test_all_callers_of_a_flight_can_be_cancelled_and_the_next_one_flies(
    shop: Shop, client: Client
) -> None:
    await client.broker()
    shop.faults.hold("enqueue")
    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(enqueue, client, f"job-{number}")
        await anyio.sleep(0.1)
        tasks.cancel_scope.cancel()
    shop.faults.let_go("enqueue")

    assert (await enqueue(client, "next")).id == "next"
