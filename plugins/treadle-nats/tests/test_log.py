"""The log: cut, read from a snapshot, in parts, with gaps, set back, and erased."""

# A test may make a reader deaf; and the options of the driver have no types.
# pyright: reportPrivateUsage=false
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import msgspec
import nats
import pytest
from treadle_nats import NatsBroker
from treadle_nats.log import Log
from treadle_nats.streams import Standing

from treadle.broker.url import parse
from treadle.broker.values import Applied, Progress
from treadle.conformance.clock import HOUR, MovableClock
from treadle.conformance.hand import Hand, lease, make_job, stored
from treadle.domain.job import Ref
from treadle.domain.outcome import Succeeded
from treadle.errors import BrokerUnavailable, Uncertain
from treadle.runtime.clock import SystemClock

pytestmark = pytest.mark.anyio

Ask = Callable[[NatsBroker], Awaitable[Standing]]
Beside = Callable[[NatsBroker], NatsBroker]


def _log(broker: NatsBroker) -> Log:
    """Return what a broker reads."""
    log = broker._asker.engine().log
    assert log is not None
    return log


def _broker(url: str) -> NatsBroker:
    return NatsBroker(parse(url), SystemClock())


async def _fill(broker: NatsBroker, times: int) -> None:
    """Write a lot about one job: the log grows, what it tells does not."""
    job = make_job(queue="chatter")
    hand = await Hand.open(broker, "chatterbox")
    await stored(broker, job)
    record = await hand.claim_one("chatter")
    for _ in range(times):
        await broker.note(hand.session, [Progress(lease=lease(record), data=b"x" * 8_192)])
    await hand.end(record, Succeeded())


async def _cut_log(broker: NatsBroker, standing: Ask) -> Standing:
    for _ in range(400):
        await _fill(broker, 30)
        found = await standing(broker)
        if found.first > 1:
            return found
        await anyio.sleep(0.05)
    raise AssertionError("the log was never cut")


async def test_a_log_that_grew_is_cut_and_read_on_from_a_snapshot(
    server: Any, namespace: str, standing: Ask
) -> None:
    url = f"{server.url}?namespace={namespace}&log_bytes=65536"
    async with _broker(url) as broker:
        await stored(broker, make_job("early"))
        await _cut_log(broker, standing)
        await stored(broker, make_job("late"))
        before = await broker.stats()

    # All brokers of the process are gone: the next one reads what the server has.
    async with _broker(url) as broker:
        after = await broker.stats()
        found = await broker.get([Ref("default", "early"), Ref("default", "late")])

    assert after.queues == before.queues
    assert [record is not None for record in found] == [True, True]


async def test_a_reader_that_is_behind_what_was_cut_begins_with_the_snapshot(
    server: Any, namespace: str, beside: Beside, standing: Ask
) -> None:
    url = f"{server.url}?namespace={namespace}&log_bytes=65536"
    async with _broker(url) as broker:
        reader = beside(broker)
        await reader.stats()
        assert _log(reader) is not None
        await _log(reader)._feed.stop()
        await _cut_log(broker, standing)
        expected = (await broker.stats()).queues

        for _ in range(5_000):
            try:
                found = await reader.stats()
                break
            except BrokerUnavailable:
                await anyio.sleep(0.02)
        else:
            raise AssertionError("it never began anew")

        assert found.queues == expected


async def test_a_record_larger_than_a_message_is_stored_in_parts(
    broker: NatsBroker, beside: Beside
) -> None:
    payload = b'{"x":"' + b"y" * 3_000_000 + b'"}'
    job = make_job(payload=payload)

    (answer,) = (await broker.enqueue([job])).results
    await stored(broker, make_job())
    (found,) = await beside(broker).get([Ref("default", job.id)])

    assert isinstance(answer, Applied)
    assert found is not None
    assert found.job.payload == payload


async def test_a_message_that_was_not_heard_is_asked_for(
    broker: NatsBroker, beside: Beside
) -> None:
    reader = beside(broker)
    await reader.stats()
    assert _log(reader) is not None
    await _log(reader)._feed.stop()

    job = make_job()
    await stored(broker, job)

    (found,) = await reader.get([Ref("default", job.id)])
    assert found is not None


async def test_who_uses_an_erased_namespace_is_told_and_then_finds_it_empty(
    broker: NatsBroker, beside: Beside
) -> None:
    await stored(broker, make_job())
    user = beside(broker)
    await user.stats()

    await broker.another().erase()

    with pytest.raises(BrokerUnavailable, match="erased"):
        await user.enqueue([make_job()])
    await stored(user, make_job())
    assert [queue.waiting for queue in (await user.stats()).queues] == [1]


async def test_nothing_of_an_erased_namespace_is_left_on_the_server(
    server: Any, namespace: str, standing: Ask
) -> None:
    url = f"{server.url}?namespace={namespace}&log_bytes=65536"
    broker = _broker(url)
    await _cut_log(broker, standing)

    await broker.erase()

    client = await nats.connect(server.url)
    names = [info.config.name or "" for info in await client.jetstream().streams_info()]
    await client.close()
    assert [name for name in names if namespace in name] == []


async def test_a_log_that_lost_more_than_its_snapshot_goes_on_behind_it(
    server: Any, namespace: str, standing: Ask
) -> None:
    url = f"{server.url}?namespace={namespace}&log_bytes=65536"
    async with _broker(url) as broker:
        await stored(broker, make_job("early"))
        before = await _cut_log(broker, standing)
    client = await nats.connect(server.url)
    name = f"TREADLE_LOG_{namespace}"
    await client.jetstream().delete_stream(name)
    await client.request(f"$JS.API.STREAM.CREATE.{name}", msgspec.json.encode(before.config))
    await client.close()

    async with _broker(url) as broker:
        await stored(broker, make_job("late"))
        found = await broker.get([Ref("default", "early"), Ref("default", "late")])
        last = (await standing(broker)).last

    assert [record is not None for record in found] == [True, True]
    assert last > before.first


async def test_a_reader_notices_that_the_server_lost_what_it_had_heard(
    server: Any, namespace: str, beside: Beside, standing: Ask
) -> None:
    async with _broker(f"{server.url}?namespace={namespace}") as broker:
        await stored(broker, make_job("lost"))
        before = await standing(broker)
        client = await nats.connect(server.url)
        name = f"TREADLE_LOG_{namespace}"
        await client.jetstream().delete_stream(name)
        await client.request(f"$JS.API.STREAM.CREATE.{name}", msgspec.json.encode(before.config))
        await stored(beside(broker), make_job("kept"), make_job("too"))
        engine = broker._asker.engine()
        assert engine.log is not None
        engine.log.is_suspect = True  # as after a reconnect

        with pytest.raises(BrokerUnavailable, match="set back"):
            await broker.stats()
        found = await broker.get([Ref("default", "lost"), Ref("default", "kept")])
        await client.close()

    assert [record is not None for record in found] == [False, True]


async def test_local_tables_that_cannot_be_written_are_made_anew(broker: NatsBroker) -> None:
    await stored(broker, make_job("before"))
    log = broker._asker.engine().log
    assert log is not None
    (pages,) = log.replica.connection.rows("PRAGMA page_count")[0]
    log.replica.connection.run(f"PRAGMA max_page_count = {pages}")

    payload = b'{"x":"' + b"x" * 9_000 + b'"}'

    with pytest.raises(Uncertain, match="is there room in"):
        await broker.enqueue([make_job(payload=payload) for _ in range(50)])

    (queue,) = (await broker.stats()).queues
    assert queue.waiting == 51  # what was uncertain stands in the log
    await stored(broker, make_job("after"))


async def test_a_purge_of_few_records_forgets_old_sessions_all_the_same(
    server: Any, namespace: str
) -> None:
    clock = MovableClock()
    url = f"{server.url}?namespace={namespace}&time=client"
    async with NatsBroker(parse(url), clock) as broker:
        hand = await Hand.open(broker, lease_ms=15_000)
        for _ in range(2):
            await hand.run(make_job())
        clock.advance(2 * HOUR)

        dropped = await broker.purge(1)

        assert dropped == 1
        assert list(await broker.sessions()) == []
