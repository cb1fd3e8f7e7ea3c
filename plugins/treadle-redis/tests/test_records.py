"""What is in the store: bytes that are no record, fences that never come back, hints that are passed on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from msgspec import structs
from redis import Redis
from treadle_redis import RedisBroker

from treadle.broker.values import Applied, Conflict, Duplicate, Filter
from treadle.conformance.hand import Hand, change, lease, make_job, stored
from treadle.domain.head import replaced
from treadle.domain.job import FaultCode, Policy, Ref
from treadle.domain.outcome import DiscardAsked, RetryAsked, Succeeded
from treadle.domain.state import State
from treadle.domain.unique import Unique

Ask = Callable[..., Awaitable[Any]]

pytestmark = pytest.mark.anyio


def _key(broker: RedisBroker, name: str, queue: str = "default") -> str:
    return f"{{{broker.url.namespace}:{queue}}}:{name}"


async def _body_at(ask: Ask, broker: RedisBroker, id: str, body: bytes) -> None:
    """Overwrite the body of a stored job, as a bug or another version would."""
    record: bytes = await ask("HGET", _key(broker, "j"), id)
    length = int.from_bytes(record[84:88], "little")
    at = record.index(b'{"v":1')
    changed = record[:84] + len(body).to_bytes(4, "little") + record[88:at] + body
    await ask("HSET", _key(broker, "j"), id, changed + record[at + length :])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"\x80\x04\x95\xff not a body", FaultCode.UNDECODABLE),
        (b'{"v":1,"type":[]}', FaultCode.BAD_ENVELOPE),
        (b'{"v":99,"type":"x"}', FaultCode.UNSUPPORTED_VERSION),
        (b"", FaultCode.UNDECODABLE),
    ],
    ids=["garbage", "wrong-shape", "newer", "empty"],
)
async def test_a_spoiled_body_is_claimed_with_what_is_wrong(
    broker: RedisBroker, ask: Ask, body: bytes, code: FaultCode
) -> None:
    await stored(broker, make_job("before"), make_job("spoiled"), make_job("behind"))
    await _body_at(ask, broker, "spoiled", body)

    claimed = await (await Hand.open(broker)).claim(10)

    assert [record.job.id for record in claimed] == ["before", "spoiled", "behind"]
    assert claimed[1].fault is not None
    assert claimed[1].fault.code is code
    assert claimed[1].fault.raw == body


@pytest.mark.parametrize(
    "garbage", [b"", b"x", b"\x01" + b"\xff" * 400], ids=["empty", "x", "long"]
)
async def test_bytes_that_are_no_record_are_a_job_that_can_be_ended(
    broker: RedisBroker, ask: Ask, garbage: bytes
) -> None:
    hand = await Hand.open(broker)
    await stored(broker, make_job("a"), make_job("b"))
    await ask("HSET", _key(broker, "j"), "a", garbage)

    shown = await broker.get([Ref("default", "a")])
    listed = (await broker.find(Filter())).records
    claimed = await hand.claim(10)
    ended = await hand.end(claimed[0], Succeeded())

    assert [record.job.id for record in claimed] == ["a", "b"]
    assert all(r is not None and r.fault is not None for r in (shown[0], claimed[0]))
    assert {record.job.id for record in listed} == {"a", "b"}
    assert isinstance(ended, Applied)
    assert (await broker.stats()).queues[0].succeeded == 1


async def test_foreign_entries_of_an_index_hold_nobody_up(broker: RedisBroker, ask: Ask) -> None:
    await stored(broker, make_job("a"))
    for entry in (b"short", b"12345678nobody"):
        await ask("ZADD", _key(broker, "w0"), 0, entry)
        await ask("ZADD", _key(broker, "d0"), 0, entry)

    claimed = await (await Hand.open(broker)).claim(10)

    assert [record.job.id for record in claimed] == ["a"]


async def test_the_first_fence_is_above_every_one_that_was_forgotten(broker: RedisBroker) -> None:
    hand, policy = await Hand.open(broker), Policy(retention_ms=0, remember_ms=0)
    last = 0
    for _ in range(3):
        (answer,) = (await broker.enqueue([make_job("a", policy=policy)])).results
        assert isinstance(answer, Applied)
        assert answer.fence > last
        record = await hand.claim_one()
        ended = await hand.end(record, Succeeded())
        assert isinstance(ended, Applied)
        last = ended.fence
        await anyio.sleep(0.002)
        await broker.purge(10)
        await broker.purge(10)


async def test_a_discarded_id_comes_back_with_a_higher_fence(broker: RedisBroker) -> None:
    hand = await Hand.open(broker)
    await stored(broker, make_job("a", policy=Policy(remember_ms=0)))
    await hand.end(await hand.claim_one(), Succeeded())
    (done,) = await broker.get([Ref("default", "a")])
    assert done is not None
    assert done.head.state is State.SUCCEEDED
    await hand.end(done, DiscardAsked())
    await anyio.sleep(0.002)

    (answer,) = (await broker.enqueue([make_job("a")])).results

    assert isinstance(answer, Applied)
    assert answer.fence > done.head.fence


async def test_a_server_that_forgot_the_scripts_gets_them_again(
    broker: RedisBroker, ask: Ask
) -> None:
    await stored(broker, make_job("a"))
    await ask("SCRIPT", "FLUSH")

    await stored(broker, make_job("b"))

    assert (await broker.stats()).queues[0].waiting == 2


async def test_an_id_that_was_refused_can_be_stored_once_in_the_same_call(
    broker: RedisBroker,
) -> None:
    await stored(broker, make_job("holder", unique=Unique(key="k")))

    held, first, second = (
        await broker.enqueue([make_job("a", unique=Unique(key="k")), make_job("a"), make_job("a")])
    ).results

    assert isinstance(held, Duplicate)
    assert isinstance(first, Applied)
    assert isinstance(second, Duplicate)


async def test_writes_of_one_call_see_each_other(broker: RedisBroker) -> None:
    hand = await Hand.open(broker)
    await stored(broker, make_job("a"))
    record = await hand.claim_one()
    settles = change(record, Succeeded(), record.head.claimed)
    done = structs.replace(record, head=replaced(record.head, settles, record.head.claimed))
    again = change(done, RetryAsked(), record.head.claimed)

    results = (await broker.apply([settles, settles, again, again])).results

    assert [type(result) for result in results] == [Applied, Conflict, Applied, Conflict]
    assert isinstance(results[1], Conflict)
    assert results[1].record is not None
    assert results[1].record.head.state is State.SUCCEEDED
    assert (await broker.stats()).queues[0].waiting == 1
    assert [again.job.id for again in await hand.claim(10)] == ["a"]


async def test_a_hundred_enqueues_at_once_go_out_in_few_calls(
    broker: RedisBroker, ask: Ask
) -> None:
    async def calls() -> int:
        found = await ask("INFO", "commandstats")
        return sum(found[name]["calls"] for name in found if name.startswith("cmdstat_eval"))

    before = await calls()
    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(stored, broker, make_job(f"job-{number}"))
    after = await calls()

    assert (await broker.stats()).queues[0].waiting == 100
    assert after - before <= 10


async def test_a_waiter_that_is_cancelled_passes_on_what_it_heard(
    broker: RedisBroker, ask: Ask
) -> None:
    hand: Any = await Hand.open(broker)
    async with anyio.create_task_group() as group:
        group.start_soon(hand.claim, 1, ("default",), 30_000)
        while not (await ask("INFO", "clients"))["blocked_clients"]:  # noqa: ASYNC110 - a server's count
            await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    await broker.disconnect()
    await broker.connect()

    assert await ask("LLEN", _key(broker, "k")) == 1


async def test_a_call_is_on_its_way_before_other_tasks_hold_the_loop(
    broker: RedisBroker, server: Any
) -> None:
    admin: Any = Redis(port=server.port)
    seen: list[bool] = []

    def calls() -> int:
        found = admin.info("commandstats")
        return sum(found[name]["calls"] for name in found if name.startswith("cmdstat_eval"))

    def hold_the_loop() -> None:
        until = time.monotonic() + 20
        while calls() == before and time.monotonic() < until:
            time.sleep(0.001)
        seen.append(calls() > before)

    await broker.apply([])
    before = calls()
    asyncio.get_running_loop().call_soon(hold_the_loop)
    await broker.apply([])

    assert seen == [True]
    admin.close()


async def test_what_a_session_holds_is_found_at_once_however_much_it_is(
    broker: RedisBroker, ask: Ask
) -> None:
    hand = await Hand.open(broker)
    await stored(broker, *(make_job(f"job-{number}") for number in range(100)))
    claimed = await hand.claim(100)
    held = f"{{{broker.url.namespace}}}:h:{hand.session}"

    pulse = await broker.heartbeat(hand.session, [lease(record) for record in claimed])

    assert await ask("OBJECT", "ENCODING", held) == b"hashtable"
    assert await ask("HLEN", held) == 100
    assert (pulse.lost, pulse.orphans, pulse.cancels) == ((), (), ())
