"""What goes wrong with a server, each as a sentence of ours: nothing of the driver's own gets out."""

# A test may look at what it proves; and the options of the driver have no types.
# pyright: reportPrivateUsage=false
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import nats
import nats.js.api
import pytest
from treadle_nats import NatsBroker
from treadle_nats.address import locate

from treadle.broker.url import parse
from treadle.broker.values import Durability
from treadle.conformance.hand import Hand, make_job, stored
from treadle.domain.job import Policy, Ref
from treadle.domain.outcome import Succeeded
from treadle.errors import BrokerRefused, BrokerUnavailable, ConfigurationError, Uncertain
from treadle.runtime.clock import SystemClock

pytestmark = pytest.mark.anyio

Make = Callable[..., Any]
USERS: dict[str, Any] = {
    "users": [
        {"user": "ada", "password": "s3cret"},
        {
            "user": "reader",
            "password": "s3cret",
            "permissions": {"publish": ["$JS.API.STREAM.INFO.>"], "subscribe": [">"]},
        },
        {
            "user": "mute",
            "password": "s3cret",
            "permissions": {"publish": {"deny": ["treadle.>"]}, "subscribe": [">"]},
        },
    ]
}


def _broker(url: str) -> NatsBroker:
    return NatsBroker(parse(url), SystemClock())


def _as(server: Any, user: str, password: str = USERS["users"][0]["password"]) -> str:
    return f"nats://{user}:{password}@127.0.0.1:{server.port}?timeout_ms=10000"


async def test_no_server_is_said_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        broker = _broker(f"nats://127.0.0.1:{taken.getsockname()[1]}?timeout_ms=60000")

        with (
            anyio.fail_after(50),  # far less than it would wait for an answer
            pytest.raises(BrokerUnavailable, match="cannot connect to nats://127"),
        ):
            await broker.connect()

        await broker.disconnect()


async def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        broker = _broker(f"nats://127.0.0.1:{silent.getsockname()[1]}?timeout_ms=500")

        with pytest.raises(BrokerUnavailable, match="cannot connect"):
            await broker.connect()
        await broker.disconnect()


async def test_a_wrong_password_is_said_without_showing_it(make_server: Make) -> None:
    server = make_server(authorization=USERS)
    broker = _broker(_as(server, "ada", "guessed"))

    with pytest.raises(BrokerUnavailable, match=r"user(,| and) password") as caught:
        await broker.connect()

    assert "guessed" not in str(caught.value)
    await broker.disconnect()


async def test_a_user_who_may_not_create_streams_is_told_so(make_server: Make) -> None:
    server = make_server(authorization=USERS)
    broker = _broker(_as(server, "reader"))

    with pytest.raises(BrokerUnavailable, match=r"[Pp]ermissions [Vv]iolation"):
        await broker.connect()
    await broker.disconnect()


async def test_a_user_who_may_not_write_reads_and_is_told_so(make_server: Make) -> None:
    server = make_server(authorization=USERS)
    async with _broker(_as(server, "ada")) as broker:
        await stored(broker, make_job("there"))

    async with _broker(_as(server, "mute")) as broker:
        (found,) = await broker.get([Ref("default", "there")])
        with pytest.raises((Uncertain, BrokerUnavailable), match=r"[Pp]ermissions [Vv]iolation"):
            await broker.enqueue([make_job()])

    assert found is not None


async def test_a_server_without_jetstream_is_refused(make_server: Make) -> None:
    broker = _broker(make_server(jetstream=False).url)

    with pytest.raises(BrokerUnavailable, match="JetStream"):
        await broker.connect()
    await broker.disconnect()


async def test_a_server_that_is_too_old_is_refused() -> None:
    with socket.socket() as old:
        old.bind(("127.0.0.1", 0))
        old.listen()
        port: int = old.getsockname()[1]
        threading.Thread(target=_speak_as_old, args=(old,), daemon=True).start()
        broker = _broker(f"nats://127.0.0.1:{port}")

        with pytest.raises(BrokerRefused, match=r"2\.10\.22 is too old, 2\.14\.5 is needed"):
            await broker.connect()
        await broker.disconnect()


def _speak_as_old(listening: socket.socket) -> None:
    """Say what a server of long ago says to who connects."""
    talk, _ = listening.accept()
    with talk:
        talk.sendall(
            b'INFO {"server_id":"X","version":"2.10.22","proto":1,"headers":true,'
            b'"max_payload":1048576,"jetstream":true}\r\n'
        )
        while heard := talk.recv(4_096):
            if b"PING" in heard:
                talk.sendall(b"PONG\r\n")


async def test_a_user_with_no_more_than_the_documented_permissions_can_do_everything(
    make_server: Make,
) -> None:
    streams = ("TREADLE_LOG_orders", "TREADLE_SNAP_orders")
    asked = ("STREAM.*", "STREAM.MSG.GET", "DIRECT.GET")
    publish = [f"$JS.API.{what}.{name}" for what in asked for name in streams]
    permissions = {
        "publish": [*publish, "treadle.orders.>"],
        "subscribe": ["treadle-live.orders.>", "_INBOX.>"],
    }
    user = {"user": "orders", "password": "s3cret", "permissions": permissions}
    server = make_server(authorization={"users": [user]})

    broker = _broker(f"{_as(server, 'orders')}&namespace=orders&log_bytes=65536")
    hand = await Hand.open(broker)
    for number in range(20):
        await hand.run(_big(number))
    engine = broker._asker.engine()
    with anyio.fail_after(300):
        while not engine.log or not engine.log.snapshot:
            await anyio.sleep(0.05)
            await hand.run(make_job())
    await broker.erase()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nats://127.0.0.1/path", "no path"),
        ("nats://127.0.0.1?durability=high", "unknown option"),
        ("nats://127.0.0.1?replicas=none", "replicas"),
        ("nats://127.0.0.1?replicas=2", "1, 3, 5"),
        ("nats://127.0.0.1?servers=nats://b:4222", "servers is a list"),
        ("nats://127.0.0.1?servers=b:port", "servers is a list"),
        ("nats://127.0.0.1?servers=b:0", "servers is a list"),
        ("nats://127.0.0.1?servers=ada:s3cret@b", "servers is a list"),
        ("nats://:s3cret@127.0.0.1", "belongs to a user"),
        ("nats://ada:s3cret@127.0.0.1?creds=/dev/null", "not both"),
        ("tls://127.0.0.1?key=/dev/null", "give cert as well"),
        ("nats://127.0.0.1?storage=paper", "storage"),
        ("tls://127.0.0.1?ca=/nowhere/ca.pem", "no file"),
    ],
)
def test_an_url_that_means_nothing_is_refused(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        _broker(url)


@pytest.mark.parametrize(
    ("servers", "places"),
    [
        ("b,c:4333", ["b:4222", "c:4333"]),
        ("[::1],[::2]:4333", ["[::1]:4222", "[::2]:4333"]),
        ("b:4222, c:4222,", ["b:4222", "c:4222"]),
    ],
)
def test_further_servers_are_read(servers: str, places: list[str]) -> None:
    address = locate(parse(f"nats://a?servers={servers}"))

    assert list(address.servers) == [f"nats://{place}" for place in ["a:4222", *places]]


def test_files_for_tls_are_never_ignored(tmp_path: Path) -> None:
    file = tmp_path / "own.pem"
    file.touch()

    assert locate(parse(f"nats://a?cert={file}")).tls


@pytest.mark.promise(3)
async def test_a_reply_that_does_not_come_is_uncertain(make_server: Make) -> None:
    server = make_server()
    async with _broker(f"{server.url}?timeout_ms=4000") as broker:
        await stored(broker, make_job())
        server.pause()

        with anyio.fail_after(300), pytest.raises(Uncertain) as caught:
            await broker.enqueue([make_job("perhaps")])
        server.resume()

        (again,) = (await broker.enqueue([make_job("perhaps")])).results
        (queue,) = (await broker.stats()).queues

    assert caught.value.ids == ("perhaps",)
    assert queue.waiting == 2
    assert again is not None


@pytest.mark.promise(9)
async def test_a_server_that_was_killed_is_found_again_with_all_it_took(make_server: Make) -> None:
    server = make_server()
    async with _broker(f"{server.url}?timeout_ms=5000") as broker:
        hand = await Hand.open(broker)
        await stored(broker, *(make_job(f"j{n}") for n in range(50)))
        held = await hand.claim(10)
        server.stop(signal.SIGKILL)

        with pytest.raises((BrokerUnavailable, Uncertain)):
            await broker.enqueue([make_job()])
        server.start()
        await _until_it_answers(broker)

        await hand.end(held[0], Succeeded())
        left = await hand.claim(100)
        (queue,) = (await broker.stats()).queues

    assert len(left) == 40
    assert (queue.running, queue.succeeded, queue.waiting) == (49, 1, 0)


@pytest.mark.promise(9)
async def test_a_claim_that_waits_outlives_a_restart_of_the_server(make_server: Make) -> None:
    server = make_server()
    claimed: list[str] = []
    async with (
        _broker(f"{server.url}?timeout_ms=5000") as broker,
        anyio.create_task_group() as group,
    ):
        hand = await Hand.open(broker)

        async def wait() -> None:
            claimed.extend(record.job.id for record in await hand.claim(1, wait_ms=240_000))

        group.start_soon(wait)
        server.stop(signal.SIGKILL)
        server.start()
        await _until_it_answers(broker)
        await stored(broker, make_job("at-last"))

    assert claimed == ["at-last"]


async def _until_it_answers(broker: NatsBroker) -> None:
    with anyio.fail_after(300):
        while True:
            try:
                await broker.stats()
            except BrokerUnavailable:
                await anyio.sleep(0.02)
            else:
                return


def _big(number: int) -> Any:
    payload = b'{"x":"' + b"x" * 20_000 + b'"}'
    policy = Policy(retention_ms=0, remember_ms=0)
    return make_job(f"big-{number}", payload=payload, policy=policy)


@pytest.mark.promise(2)
async def test_the_level_of_durability_is_that_of_the_stream(server: Any, namespace: str) -> None:
    levels: list[Durability] = []
    for n, options in enumerate(("", "&sync=always", "&storage=memory")):
        broker = _broker(f"{server.url}?namespace={namespace}-{n}{options}")
        levels.append((await broker.describe()).durability)
        await broker.erase()

    assert levels == [Durability.PROCESS, Durability.POWER_LOSS, Durability.NONE]


@pytest.mark.promise(9)
async def test_a_server_that_comes_later_is_found(make_server: Make) -> None:
    server = make_server()
    server.stop(signal.SIGKILL)
    broker = _broker(f"{server.url}?timeout_ms=1000")
    with pytest.raises(BrokerUnavailable):
        await broker.connect()

    server.start()
    await _until_it_answers(broker)
    await stored(broker, make_job())
    await broker.disconnect()


@pytest.mark.promise(9)
async def test_a_reader_that_is_cut_off_because_it_is_too_slow_misses_nothing(
    make_server: Make, beside: Callable[[NatsBroker], NatsBroker]
) -> None:
    server = make_server(max_payload=131_072, max_pending=262_144, write_deadline="200ms")
    payload = b'{"x":"' + b"x" * 100_000 + b'"}'
    async with _broker(server.url) as broker:
        slow = beside(broker)
        await slow.stats()
        go_on = threading.Event()
        slow._asker.engine()._loop.call_soon_threadsafe(go_on.wait)
        log = server.folder / "log"

        count = 0
        while "Slow Consumer" not in log.read_text():
            await stored(broker, make_job(payload=payload))
            count += 1
        go_on.set()
        await _until_it_answers(slow)

        assert [queue.waiting for queue in (await slow.stats()).queues] == [count]


async def test_payloads_larger_than_the_servers_messages_go_in_parts(make_server: Make) -> None:
    server = make_server(max_payload=16_384)
    payload = b'{"x":"' + b"x" * 200_000 + b'"}'
    job = make_job(payload=payload)
    async with _broker(f"{server.url}?log_bytes=65536") as broker:
        hand = await Hand.open(broker)
        await stored(broker, job)
        engine = broker._asker.engine()
        with anyio.fail_after(20):
            while not engine.log or not engine.log.snapshot:
                await hand.run(make_job(queue="chatter"))
    async with _broker(server.url) as broker:
        (found,) = await broker.get([Ref("default", job.id)])

    assert found is not None
    assert found.job.payload == payload


async def test_a_stream_that_drops_messages_is_warned_of_and_promises_nothing(
    server: Any, namespace: str
) -> None:
    async with _broker(f"{server.url}?namespace={namespace}") as broker:
        await stored(broker, make_job())
        client = await nats.connect(server.url)
        config = (await client.jetstream().stream_info(broker._address.stream)).config
        config.max_msgs, config.discard = 5, nats.js.api.DiscardPolicy.OLD
        await client.jetstream().update_stream(config)
        await client.close()

        described = await broker.describe()

    assert any("drops" in warning for warning in described.warnings), described.warnings
    assert described.durability is Durability.NONE
