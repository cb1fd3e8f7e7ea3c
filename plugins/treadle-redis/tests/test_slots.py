"""Two nodes of a cluster: a namespace is on one of them as a whole, and is found wherever it is."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from treadle_redis import RedisBroker, keys

from treadle.conformance import Subject, run_cases
from treadle.conformance.hand import Hand, make_job, stored
from treadle.conformance.report import Result
from treadle.domain.job import Ref
from treadle.domain.outcome import Succeeded
from treadle.errors import BrokerRefused, BrokerUnavailable, ConfigurationError

pytestmark = pytest.mark.anyio

Make = Callable[[str], RedisBroker]
Say = Callable[..., Awaitable[Any]]
Start = Callable[..., Any]
PATIENCE_S = 120
QUEUES = ("default", "mail")


def _fresh(cluster: Any, owner: Any) -> str:
    """Return a namespace that nobody uses, which belongs to a node."""
    while True:
        name = f"test-{secrets.token_hex(6)}"
        if cluster.owner(name) is owner:
            return name


async def _keys(say: Say, node: Any, namespace: str) -> list[bytes]:
    """Return the keys of a namespace on a node, as a cluster names them and otherwise."""
    found: list[bytes] = await say(node, "KEYS", f"{{{namespace}*")
    return found


async def _work(broker: RedisBroker) -> int:
    """Have two queues at work; return how many jobs ended."""
    await stored(broker, *(make_job(f"{queue}-1", queue=queue) for queue in QUEUES))
    hand = await Hand.open(broker)
    for record in await hand.claim(queues=QUEUES, wait_ms=1_000):
        await hand.end(record, Succeeded())
    return sum([each.succeeded for each in (await broker.stats()).queues])


@pytest.mark.timeout(1_200)
async def test_the_core_of_the_kit_passes_on_a_cluster(pair: Any) -> None:
    subject = Subject(pair.url(), backends=("asyncio",), movable=False)

    rows = await run_cases(subject, "core")

    failed = [f"{row.case} {row.detail}" for row in rows if row.result != Result.PASSED]
    assert len(rows) > 100
    assert failed == []


@pytest.mark.parametrize("scheme", ["redis", "valkey", "redis+cluster", "valkey+cluster"])
@pytest.mark.parametrize("number", [0, 1])
async def test_any_node_leads_to_the_one_that_has_the_namespace(
    broker_at: Make, pair: Any, tell: Say, scheme: str, number: int
) -> None:
    home, other = pair.primaries[number], pair.primaries[1 - number]
    namespace = _fresh(pair, home)

    for asked in (home, other):
        async with broker_at(f"{scheme}://127.0.0.1:{asked.port}/?namespace={namespace}") as broker:
            assert await _work(broker) == len(QUEUES)
            detail = dict((await broker.describe()).detail)
            found = await _keys(tell, home, namespace)
            await broker.erase()

        assert f"node 127.0.0.1:{home.port}" in detail["server"]
        assert f"slot {pair.slot(namespace)}" in detail["server"]
        assert len(found) > 5
        assert await _keys(tell, home, namespace) == []


async def test_all_keys_of_a_namespace_are_in_one_slot(
    broker_at: Make, pair: Any, tell: Say
) -> None:
    home, other = pair.primaries
    namespace = _fresh(pair, home)

    async with broker_at(pair.url(f"namespace={namespace}")) as broker:
        await _work(broker)
        found = {key.partition(b"}")[0] for key in await _keys(tell, home, namespace)}
        await broker.erase()

    assert found == {f"{{{namespace}".encode()}
    assert await _keys(tell, other, namespace) == []


async def test_claims_wait_for_the_markers_that_scripts_write(
    broker_at: Make, pair: Any, tell: Say
) -> None:
    home, _ = pair.primaries
    namespace = _fresh(pair, home)

    async with broker_at(pair.url(f"namespace={namespace}")) as broker:
        await stored(broker, make_job("a"))
        found = await _keys(tell, home, namespace)
        await broker.erase()

    assert keys.markers(namespace, "default", is_clustered=True).encode() in found


async def test_one_claim_waits_for_several_queues(
    broker_at: Make, pair: Any, tell: Say, hear: Say
) -> None:
    home, _ = pair.primaries
    async with broker_at(pair.url(f"namespace={_fresh(pair, home)}")) as broker:
        hand = await Hand.open(broker)
        taken: list[str] = []

        async def wait_for_it() -> None:
            records = await hand.claim(queues=QUEUES, wait_ms=PATIENCE_S * 1_000)
            taken.extend(record.job.id for record in records)

        async with anyio.create_task_group() as group:
            group.start_soon(wait_for_it)
            await hear(home, "blocked_clients:1", "INFO", "clients")
            await stored(broker, make_job("a", queue=QUEUES[1]))
        await broker.erase()

    assert taken == ["a"]


async def test_a_user_who_knows_no_command_about_clusters_can_work(
    broker_at: Make, pair: Any, tell: Say
) -> None:
    home, other = pair.primaries
    namespace = _fresh(pair, home)
    rules = ("on", ">secret", f"~{{{namespace}}}:*", "&*", "+@all", "-@dangerous", "-cluster")
    for node in pair.nodes:
        await tell(node, "ACL", "SETUSER", "worker", *rules)

    url = f"redis://worker:secret@127.0.0.1:{other.port}/?namespace={namespace}"
    async with broker_at(url) as broker:
        ended = await _work(broker)
        await broker.erase()
    with pytest.raises(BrokerRefused, match="may not do what a broker needs"):
        await broker_at(url.replace(namespace, f"{namespace}-2")).connect()

    assert ended == len(QUEUES)


async def test_a_slot_that_is_being_moved_is_not_touched_and_followed_when_it_is_there(
    broker_at: Make, cluster_of: Start, tell: Say
) -> None:
    cluster = cluster_of(2)
    await cluster.settle()
    source, target = cluster.primary, next(e for e in cluster.nodes if e is not cluster.primary)
    number, url = cluster.slot("treadle"), cluster.url("timeout=0.5")
    patient = cluster.url(f"timeout={PATIENCE_S}")
    async with broker_at(url) as broker, broker_at(patient) as waiting:
        await stored(broker, make_job("a"))
        idle = await Hand.open(waiting, "idle")
        claims = anyio.create_task_group()
        taken: list[str] = []

        async def wait_for_it() -> None:
            records = await idle.claim(queues=["later"], wait_ms=PATIENCE_S * 1_000)
            taken.extend(record.job.id for record in records)

        async with claims:
            claims.start_soon(wait_for_it)
            await cluster.hand_over(number, source, target)
            for key in await tell(source, "CLUSTER", "GETKEYSINSLOT", number, 1_000):
                with pytest.raises(BrokerUnavailable, match="is being moved to another node"):
                    await broker.enqueue([make_job("b")])
                with pytest.raises(BrokerUnavailable, match="is being moved to another node"):
                    await broker.get([Ref("default", "a")])
                await tell(source, "MIGRATE", "127.0.0.1", target.port, key, 0, 5_000)
            await cluster.take_over(number, source, target)
            await stored(broker, make_job("c", queue="later"))

        found = await broker.get([Ref("default", "a"), Ref("default", "b"), Ref("later", "c")])

    assert [record is not None for record in found] == [True, False, True]
    assert taken == ["c"]
    assert await _keys(tell, source, "treadle") == []


async def test_a_call_waits_till_a_move_is_over(
    broker_at: Make, cluster_of: Start, tell: Say, hear: Say
) -> None:
    cluster = cluster_of(2)
    await cluster.settle()
    source, target = cluster.primary, next(e for e in cluster.nodes if e is not cluster.primary)
    number = cluster.slot("treadle")
    async with broker_at(cluster.url("timeout=60")) as broker:
        await cluster.hand_over(number, source, target)

        async with anyio.create_task_group() as group:
            group.start_soon(stored, broker, make_job("a"))
            await hear(source, "errorstat_TRYAGAIN", "INFO", "errorstats")
            await tell(source, "CLUSTER", "SETSLOT", number, "STABLE")

        (found,) = await broker.get([Ref("default", "a")])

    assert found is not None


async def test_a_cluster_that_is_down_is_one_line_and_the_code_for_brokers(
    broker_at: Make, cluster_of: Start, tell: Say, hear: Say
) -> None:
    cluster = cluster_of(1)
    await cluster.settle()
    (node,) = cluster.nodes
    async with broker_at(cluster.url("timeout=0.5")) as broker:
        await stored(broker, make_job("a"))
        await tell(node, "CLUSTER", "DELSLOTS", 0)

        with pytest.raises(BrokerUnavailable, match="the cluster is down"):
            await broker.enqueue([make_job("b")])
        done = await anyio.run_process(
            [sys.executable, "-m", "treadle", "queues", "list"],
            check=False,
            env={**os.environ, "QRUN_URL": cluster.url("timeout=0.5")},
        )

        lines = [line for line in done.stderr.decode().splitlines() if line != "plugin_slow"]
        assert (done.returncode, len(lines)) == (4, 1)
        assert "the cluster is down" in lines[0]
        await tell(node, "CLUSTER", "ADDSLOTS", 0)
        await hear(node, "cluster_state:ok", "CLUSTER", "INFO")
        await stored(broker, make_job("b"))


async def test_what_is_no_cluster_and_what_a_cluster_has_not_is_refused(
    broker_at: Make, pair: Any, server: Any
) -> None:
    with pytest.raises(BrokerRefused, match="is no node of a cluster: use redis://"):
        await broker_at(f"redis+cluster://127.0.0.1:{server.port}").connect()
    with pytest.raises(BrokerRefused, match="take the number of the database out of the URL"):
        await broker_at(f"{pair.nodes[0].url}/3").connect()


async def test_a_server_that_does_not_say_what_it_is_counts_as_one_of_its_own(
    broker_at: Make, start: Start
) -> None:
    silent = start("--rename-command", 'HELLO ""')

    async with broker_at(silent.url) as broker:
        assert await _work(broker) == len(QUEUES)


async def test_keys_that_were_named_for_another_kind_of_server_are_not_mixed_with_ours(
    broker_at: Make, pair: Any, server: Any, tell: Say
) -> None:
    namespace = _fresh(pair, pair.nodes[0])
    await tell(pair.nodes[0], "HSET", f"{{{namespace}}}:n", "schema", "2")
    await tell(server, "HSET", f"{{{namespace}}}:n", "schema", "102")

    with pytest.raises(BrokerRefused, match="was laid out outside of a cluster"):
        await broker_at(pair.url(f"namespace={namespace}")).connect()
    with pytest.raises(BrokerRefused, match="was laid out in a cluster"):
        await broker_at(f"{server.url}/?namespace={namespace}").connect()


async def test_one_node_of_the_url_is_enough(broker_at: Make, pair: Any, start: Start) -> None:
    gone = start()
    gone.stop()
    seeds = ",".join(f"127.0.0.1:{node.port}" for node in (gone, *pair.nodes))

    async with broker_at(f"redis+cluster://127.0.0.1:{gone.port}/?servers={seeds}") as broker:
        await broker.stats()
    with pytest.raises(BrokerUnavailable, match="no node leads to the namespace"):
        await broker_at(f"redis+cluster://127.0.0.1:{gone.port}").connect()


@pytest.mark.parametrize(
    "wrong",
    [
        "redis+cluster://h:7000/0",
        "redis+cluster://h:7000/jobs",
        "redis+cluster://h,i",
        "redis+cluster://h?servers=a:b",
        "redis+cluster://h?db=0",
        "redis+cluster://h?sentinel_user=u",
        "redis+cluster://h?ca=x",
    ],
)
async def test_urls_of_clusters_are_checked(broker_at: Make, wrong: str) -> None:
    with pytest.raises(ConfigurationError):
        broker_at(wrong)
