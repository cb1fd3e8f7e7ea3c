"""What others write into the log, or instead of it: foreign bytes, other versions, another stream."""

# A test may make a reader deaf; and the options of the driver have no types.
# pyright: reportPrivateUsage=false
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import nats
import pytest
from treadle_nats import NatsBroker, snapshots
from treadle_nats.address import locate
from treadle_nats.questions import Do
from treadle_nats.streams import Standing

from treadle.broker.sqlite.migrate import schema_version
from treadle.broker.url import parse
from treadle.conformance.hand import Hand, make_job, stored
from treadle.domain.job import FaultCode
from treadle.errors import BrokerRefused, BrokerUnavailable
from treadle.runtime.clock import SystemClock

pytestmark = pytest.mark.anyio

Ask = Callable[[NatsBroker], Awaitable[Standing]]
Beside = Callable[[NatsBroker], NatsBroker]


async def _publish(
    broker: NatsBroker, standing: Standing, data: bytes, headers: dict[str, str] | None = None
) -> None:
    """Write into the log past every broker."""
    client = await nats.connect(locate(broker.url).servers[0])
    await client.jetstream().publish(standing.life.log, data, headers=headers)
    await client.close()


def _broker(url: str) -> NatsBroker:
    return NatsBroker(parse(url), SystemClock())


_FOREIGN: list[tuple[bytes, dict[str, str] | None]] = [
    (b"\xff\x00garbage", None),
    (b"", None),
    (b'{"v":1,"type":"looks.like.a.body"}', None),
    (b"\xff\x00garbage", {"Nats-Msg-Id": "someone.1.0.1"}),
    (
        msgspec.msgpack.encode([1, schema_version(), None, [["Nonsense", {}]]]),
        {"Nats-Msg-Id": "a.2.0.1"},
    ),
    (
        msgspec.msgpack.encode([1, schema_version(), None, [["Enqueue", 7]]]),
        {"Nats-Msg-Id": "a.3.0.1"},
    ),
    (b"part", {"Nats-Msg-Id": "a.1.2"}),
    (b"part", {"Nats-Msg-Id": "a.-1.0.1"}),
]


@pytest.mark.promise(10)
@pytest.mark.parametrize(
    ("data", "headers"),
    _FOREIGN,
    ids=["bytes", "nothing", "body", "named", "command", "shape", "name", "number"],
)
async def test_foreign_bytes_in_the_log_stop_nobody_and_can_be_seen(
    broker: NatsBroker, data: bytes, headers: dict[str, str] | None, beside: Beside, standing: Ask
) -> None:
    await stored(broker, make_job("before"))

    await _publish(broker, await standing(broker), data, headers)
    await stored(broker, make_job("after"))

    hand = await Hand.open(beside(broker))
    before, foreign, after = await hand.claim(3)
    assert (before.job.id, after.job.id) == ("before", "after")
    assert foreign.fault is not None
    assert foreign.fault.code is FaultCode.UNDECODABLE
    assert foreign.fault.raw[1:] == data


async def test_a_part_whose_rest_never_comes_stops_nobody(
    broker: NatsBroker, standing: Ask
) -> None:
    await _publish(broker, await standing(broker), b"part", {"Nats-Msg-Id": "someone.4.1.3"})

    await stored(broker, make_job())

    assert [queue.waiting for queue in (await broker.stats()).queues] == [1]


@pytest.mark.promise(14)
async def test_a_log_of_a_newer_version_is_refused_and_left_alone(
    broker: NatsBroker, standing: Ask
) -> None:
    await stored(broker, make_job())
    newer = msgspec.msgpack.encode([1, schema_version() + 1, None, []])

    await _publish(broker, await standing(broker), newer, {"Nats-Msg-Id": "newer.1.0.1"})

    with pytest.raises(BrokerRefused, match="newer version"):
        await broker.stats()
    last = (await standing(broker)).last
    with pytest.raises(BrokerRefused, match="newer version"):
        await broker.enqueue([make_job()])
    assert (await standing(broker)).last == last


@pytest.mark.promise(14)
async def test_a_log_of_an_older_version_is_read_on(broker: NatsBroker, standing: Ask) -> None:
    await stored(broker, make_job())
    older = [1, schema_version() - 1, None, [["Pause", ["default", True]]]]

    await _publish(
        broker,
        await standing(broker),
        msgspec.msgpack.encode(older),
        {"Nats-Msg-Id": "older.1.0.1"},
    )

    assert [queue.paused for queue in (await broker.stats()).queues] == [True]


async def test_a_stream_of_somebody_else_is_refused(server: Any, namespace: str) -> None:
    client = await nats.connect(server.url)
    await client.jetstream().add_stream(
        name=f"TREADLE_LOG_{namespace}", subjects=[f"{namespace}.x"]
    )

    with pytest.raises(BrokerRefused, match="none of treadle's"):
        await _broker(f"{server.url}?namespace={namespace}").connect()

    await client.close()


@pytest.mark.promise(10)
@pytest.mark.parametrize("name", ["manifest", "turn", "{id}.0", "{id}.1", "{id}.x", "else"])
async def test_foreign_bytes_among_the_snapshots_stop_nobody(
    server: Any, namespace: str, standing: Ask, name: str
) -> None:
    url = f"{server.url}?namespace={namespace}"
    async with _broker(url) as broker:
        await stored(broker, make_job("before"))
        made = await _snapshot(broker)
        subject = f"{(await standing(broker)).life.shelf}.{name.format(id=made.id)}"
        client = await nats.connect(server.url)
        await client.jetstream().publish(subject, b"\xff\x00garbage")
        await client.close()
        await stored(broker, make_job("after"))

    async with _broker(url) as broker:
        assert [queue.waiting for queue in (await broker.stats()).queues] == [2]
        assert broker._asker.engine().log is not None
        await stored(broker, make_job("later"))
        engine = broker._asker.engine()
        assert engine.log is not None
        engine.log._clock = (engine.log._clock[0] + 60_000, engine.log._clock[1])
        assert (await _snapshot(broker)).seq > made.seq


async def _snapshot(broker: NatsBroker) -> snapshots.Manifest:
    """Store a snapshot and cut the log behind it."""
    engine = broker._asker.engine()

    async def save() -> snapshots.Manifest:
        link, log = engine.link, engine.log
        assert link is not None
        assert log is not None
        await snapshots.save(link, log, "test", 0)
        manifest, _ = await snapshots.latest(link, log.life)
        assert manifest is not None
        return manifest

    return await broker._asker.ask(Do(save))


@pytest.mark.promise(10)
async def test_a_snapshot_that_is_broken_is_said_and_nothing_is_begun_without_it(
    server: Any, namespace: str
) -> None:
    url = f"{server.url}?namespace={namespace}"
    async with _broker(url) as broker:
        await stored(broker, make_job("before"))
        made = await _snapshot(broker)
    client = await nats.connect(server.url)
    await client.jetstream().delete_msg(f"TREADLE_SNAP_{namespace}", made.first)
    await client.close()

    broker = _broker(url)
    with pytest.raises(BrokerUnavailable, match="no snapshot of the log can be read"):
        await broker.connect()
    await broker.disconnect()


@pytest.mark.parametrize(
    "headers",
    [
        None,
        {"Nats-Sequence": "1"},
        {"Nats-Sequence": "one", "Nats-Time-Stamp": "now"},
        {
            "Nats-Sequence": "2",
            "Nats-Time-Stamp": "2026-01-01T00:00:00Z",
            "Nats-Stream": "ELSE",
            "Nats-Subject": "else",
        },
        {"Nats-Sequence": "2", "Nats-Time-Stamp": "never", "Nats-Stream": "{stream}"},
    ],
    ids=["plain", "half", "words", "other", "never"],
)
async def test_foreign_bytes_among_the_copies_of_the_log_are_passed_over(
    broker: NatsBroker, standing: Ask, headers: dict[str, str] | None
) -> None:
    await stored(broker, make_job())
    stream = locate(broker.url).stream
    filled = {name: text.format(stream=stream) for name, text in (headers or {}).items()}
    client = await nats.connect(locate(broker.url).servers[0])
    await client.publish((await standing(broker)).life.live, b"\xffgarbage", headers=filled)
    await client.flush()
    await client.close()

    await stored(broker, make_job())

    assert [queue.waiting for queue in (await broker.stats()).queues] == [2]


async def test_a_log_whose_beginning_somebody_deleted_is_said_with_what_to_do(
    server: Any, namespace: str
) -> None:
    url = f"{server.url}?namespace={namespace}&leave=no"
    async with _broker(url) as broker:
        for number in range(3):
            await stored(broker, make_job(f"lost-{number}"))
        stream = broker._address.stream
    client = await nats.connect(server.url)
    await client.jetstream().purge_stream(stream, keep=1)
    await client.close()

    broker = _broker(url)
    with pytest.raises(
        BrokerUnavailable, match=f"messages of {stream} purged or deleted"
    ) as caught:
        await broker.stats()
    await broker.disconnect()

    assert len(str(caught.value).splitlines()) == 1
