"""What goes wrong with a server, each as a sentence of ours: nothing of the driver's own gets out."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from treadle_redis import RedisBroker

from treadle.broker.values import Applied, Durability
from treadle.conformance.hand import Hand, change, make_job, stored
from treadle.domain.job import Policy, Ref
from treadle.domain.outcome import RefusalCode, Refused, Succeeded
from treadle.errors import (
    BrokerRefused,
    BrokerUnavailable,
    ConfigurationError,
    Uncertain,
)

pytestmark = pytest.mark.anyio

Make = Callable[[str], RedisBroker]
Ask = Callable[..., Awaitable[Any]]
Start = Callable[..., Any]
Through = Callable[[int], Any]


async def test_a_server_that_is_not_there_is_unavailable(broker_at: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        broker = broker_at(f"redis://127.0.0.1:{taken.getsockname()[1]}")

        with pytest.raises(BrokerUnavailable, match="cannot be reached"):
            await broker.connect()


async def test_a_server_that_does_not_answer_is_given_up_in_time(
    broker_at: Make, server: Any, through: Through
) -> None:
    async with through(server.port) as proxy:
        proxy.is_silent = True

        with anyio.fail_after(300), pytest.raises(BrokerUnavailable, match=r"did not|cannot be"):
            await broker_at(f"{proxy.url}?timeout=0.3").connect()


async def test_a_wrong_password_is_refused_and_not_shown(broker_at: Make, start: Start) -> None:
    port = start("--requirepass", "right").port

    with pytest.raises(BrokerRefused, match="refuses user or password") as refusal:
        await broker_at(f"redis://:wr0ng@127.0.0.1:{port}").connect()
    with pytest.raises(BrokerRefused, match="refuses user or password"):
        await broker_at(f"redis://127.0.0.1:{port}").connect()
    async with broker_at(f"redis://:right@127.0.0.1:{port}") as broker:
        await stored(broker, make_job())

    assert "wr0ng" not in str(refusal.value)


async def test_a_user_without_permission_is_refused(broker_at: Make, start: Start) -> None:
    port = start("--user", "reader on >secret ~* +@read +@connection +info").port

    with pytest.raises(BrokerRefused, match="may not do what a broker needs"):
        await broker_at(f"redis://reader:secret@127.0.0.1:{port}").connect()


async def test_the_documented_permissions_are_enough(broker_at: Make, start: Start) -> None:
    rules = "worker on >secret ~{treadle} ~{treadle:* ~{treadle}:* &* +@all -@dangerous +info"
    port = start("--user", rules).port

    async with broker_at(f"redis://worker:secret@127.0.0.1:{port}") as broker:
        await stored(broker, make_job("a"))
        hand = await Hand.open(broker)
        record = await hand.claim_one()
        await hand.end(record, Succeeded())
        assert (await broker.stats()).queues[0].succeeded == 1
        assert (await broker.describe()).durability is Durability.PROCESS
        await broker.erase()


async def test_a_replica_is_not_used(broker_at: Make, start: Start) -> None:
    primary = start()
    replica = start("--replicaof", f"127.0.0.1 {primary.port}")

    with pytest.raises(BrokerUnavailable, match="read-only replica"):
        await broker_at(replica.url).connect()


async def test_a_server_that_is_too_old_is_refused(
    broker_at: Make, server: Any, through: Through
) -> None:
    async with through(server.port) as proxy, broker_at(server.url) as broker:
        version = (await broker.describe()).version.split()[1].encode()
        old = b"7.1.99"[: len(version)].ljust(len(version), b"0")
        proxy.replaces = (b"_version:" + version, b"_version:" + old)

        with pytest.raises(BrokerRefused, match=r"at least 7\.\d is needed"):
            await broker_at(proxy.url).connect()


@pytest.mark.parametrize(
    ("layout", "said"), [(99, "by a newer version"), (1, "before the first release")]
)
async def test_a_namespace_of_another_layout_is_left_alone(
    broker: RedisBroker, ask: Ask, layout: int, said: str
) -> None:
    key = f"{{{broker.url.namespace}}}:n"
    await ask("HSET", key, "schema", layout)

    with pytest.raises(BrokerRefused, match=f"laid out {said}"):
        await broker.another().connect()


async def test_a_foreign_key_in_the_namespace_is_named(broker: RedisBroker, ask: Ask) -> None:
    await ask("SET", f"{{{broker.url.namespace}:default}}:j", "not ours")

    with pytest.raises(BrokerRefused, match="something that is not ours"):
        await broker.enqueue([make_job()])


async def test_options_that_nobody_knows_are_refused(broker_at: Make) -> None:
    for wrong in (
        "redis://h/jobs",
        "redis://h?timeout=soon",
        "redis://h?ca=x",
        "redis://h?retry=1",
    ):
        with pytest.raises(ConfigurationError):
            broker_at(wrong)


async def test_a_broker_that_was_never_connected_says_so(broker_at: Make, url: str) -> None:
    with pytest.raises(BrokerUnavailable, match="call connect"):
        await broker_at(url).enqueue([make_job()])


async def test_an_enqueue_whose_reply_is_lost_is_uncertain_and_stored_once(
    broker_at: Make, server: Any, url: str, through: Through
) -> None:
    async with through(server.port) as proxy:
        behind = url.replace(str(server.port), str(proxy.port))
        async with broker_at(behind) as broker:
            job = make_job("a")
            await stored(broker, make_job("first"))
            proxy.drops_replies = True

            with pytest.raises(Uncertain) as uncertain:
                await broker.enqueue([job])
            again = (await broker.enqueue([job])).results

            assert uncertain.value.ids == ("a",)
            assert not isinstance(again[0], Refused)
            assert (await broker.stats()).queues[0].waiting == 2
            await broker.erase()


async def test_a_settlement_whose_reply_is_lost_is_shown_by_its_fence(
    broker_at: Make, server: Any, url: str, through: Through
) -> None:
    async with (
        through(server.port) as proxy,
        broker_at(url.replace(str(server.port), str(proxy.port))) as broker,
    ):
        await stored(broker, make_job("a"))
        hand = await Hand.open(broker)
        record = await hand.claim_one()
        settles = change(record, Succeeded(), record.head.claimed)
        proxy.drops_replies = True

        with pytest.raises(BrokerUnavailable, match="before the reply came"):
            await broker.apply([settles])
        (known,) = await broker.get([Ref("default", "a")])

        assert known is not None
        assert known.history[-1].fence == record.head.fence
        await broker.erase()


async def test_reads_survive_a_cut_connection(
    broker_at: Make, server: Any, url: str, through: Through
) -> None:
    async with (
        through(server.port) as proxy,
        broker_at(url.replace(str(server.port), str(proxy.port))) as broker,
    ):
        await stored(broker, make_job("a"))
        proxy.drops_replies = True

        assert (await broker.stats()).queues[0].waiting == 1
        await broker.erase()


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
async def test_a_server_that_was_restarted_has_everything_and_is_used_on(
    broker_at: Make, start: Start, kill: bool
) -> None:
    server = start()
    async with broker_at(server.url) as broker:
        hand = await Hand.open(broker)
        await stored(broker, make_job("a"), make_job("b"))
        first = await hand.claim_one()

        server.stop(kill=kill)
        with pytest.raises((BrokerUnavailable, Uncertain)):
            await broker.enqueue([make_job("c")])
        with pytest.raises(BrokerUnavailable, match="cannot be reached"):
            await broker.enqueue([make_job("c")])
        server.start()
        settled = await hand.end(first, Succeeded())
        second = await hand.claim_one()
        await hand.end(second, Succeeded())

        assert isinstance(settled, Applied)
        assert (await broker.stats()).queues[0].succeeded == 2


async def test_a_primary_that_is_demoted_before_replicas_confirm_is_uncertain(
    broker_at: Make, start: Start, tell: Ask, hear: Ask
) -> None:
    server, other = start(), start()

    async def demote() -> None:
        await hear(server, "blocked_clients:1", "INFO", "clients")
        await tell(server, "REPLICAOF", "127.0.0.1", other.port)

    async with broker_at(server.url) as plain:
        await stored(plain, make_job("first"))
    broker = broker_at(f"{server.url}?replicas=1&timeout=240")
    async with anyio.create_task_group() as group:
        group.start_soon(demote)
        with pytest.raises(Uncertain):
            async with broker:
                await broker.enqueue([make_job("a")])


async def test_a_waiting_claim_ends_when_the_server_goes_and_works_again(
    broker_at: Make, start: Start
) -> None:
    server = start()
    async with broker_at(server.url) as broker:
        hand = await Hand.open(broker)

        async def wait() -> None:
            with pytest.raises(BrokerUnavailable):
                await hand.claim(wait_ms=3_600_000)

        with anyio.fail_after(300):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await anyio.sleep(0.1)
                server.stop(kill=True)
        server.start()
        await stored(broker, make_job("a"))

        assert [record.job.id for record in await hand.claim(wait_ms=1_000)] == ["a"]


async def test_a_full_server_refuses_jobs_lets_running_ones_finish_and_recovers(
    broker_at: Make, start: Start
) -> None:
    server = start("--maxmemory", "8mb", "--maxmemory-policy", "noeviction", "--appendonly", "no")
    async with broker_at(server.url) as broker:
        hand, payload = await Hand.open(broker), b'{"x":"' + b"y" * 50_000 + b'"}'
        policy = Policy(retention_ms=0, remember_ms=0)
        refused: Refused | None = None
        for number in range(400):
            job = make_job(f"job-{number}", payload=payload, policy=policy)
            (answer,) = (await broker.enqueue([job])).results
            if isinstance(answer, Refused):
                refused = answer
                break

        assert refused is not None
        assert refused.code is RefusalCode.STORAGE_FULL
        for record in await hand.claim(50):
            assert isinstance(await hand.end(record, Succeeded()), Applied)
        await broker.purge(100)
        await stored(broker, make_job("later"))


@pytest.mark.parametrize(
    ("settings", "durability"),
    [
        (("--appendonly", "no"), Durability.NONE),
        (("--appendfsync", "everysec"), Durability.PROCESS),
        (("--appendfsync", "always"), Durability.POWER_LOSS),
        (("--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru"), Durability.NONE),
    ],
    ids=["no-log", "everysec", "always", "evicting"],
)
async def test_the_durability_is_read_from_the_live_server(
    broker_at: Make, start: Start, settings: tuple[str, ...], durability: Durability
) -> None:
    async with broker_at(start(*settings).url) as broker:
        described = await broker.describe()

    assert described.durability is durability
    assert bool(described.warnings) == (durability is Durability.NONE)


async def test_a_server_that_throws_things_away_is_warned_about(
    broker_at: Make, start: Start
) -> None:
    async with broker_at(start("--maxmemory-policy", "allkeys-lru").url) as broker:
        described = await broker.describe()

    assert "noeviction" in described.warnings[0]
