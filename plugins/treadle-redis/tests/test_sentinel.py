"""Sentinels: whom they name is used; theirs or a cluster's, a primary that is killed is replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis
from treadle_redis import RedisBroker

from treadle.broker.values import Applied, Duplicate, Durability
from treadle.conformance.hand import Hand, change, make_job, stored
from treadle.domain.job import Ref
from treadle.domain.outcome import Succeeded
from treadle.domain.state import State
from treadle.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnavailable,
    ConfigurationError,
    Uncertain,
)

pytestmark = [pytest.mark.anyio, pytest.mark.cluster, pytest.mark.timeout(400)]

Make = Callable[[str], RedisBroker]
Start = Callable[..., Any]
Through = Callable[..., Any]
Fleet = Callable[[str], list[subprocess.Popen[bytes]]]
PATIENCE_S = 120
DOWN_AFTER_MS = 2_000
APP = """
from treadle import Jobs

jobs = Jobs()


@jobs.handler("note.write", retry=3)
async def write(number: int) -> int:
    return number
"""


class Group:
    """A primary, its replicas, and three sentinels that watch them."""

    def __init__(self, start: Start, replicas: int) -> None:
        quick = ("--repl-diskless-sync-delay", "0", "--appendfsync", "always")
        self.primary = start(*quick)
        follows = ("--replicaof", f"127.0.0.1 {self.primary.port}")
        self.replicas = [start(*quick, *follows) for _ in range(replicas)]
        watch = (
            f"sentinel monitor jobs 127.0.0.1 {self.primary.port} 2\n"
            f"sentinel down-after-milliseconds jobs {DOWN_AFTER_MS}\n"
            "sentinel failover-timeout jobs 10000\n"
        )
        self.sentinels = [start(sentinel=watch) for _ in range(3)]

    def url(self, *options: str) -> str:
        """Return the URL of the group: the first sentinel stands in front."""
        first, *others = (f"127.0.0.1:{one.port}" for one in self.sentinels)
        query = "&".join([f"servers={','.join(others)}", *options])
        return f"redis+sentinel://{first}/jobs?{query}"

    async def settle(self) -> None:
        """Return when all sentinels know each other and every replica."""
        for one in self.sentinels:
            await _until(one.port, self._knows_all)
        await _until(self.primary.port, self._has_all)

    async def _knows_all(self, client: Any) -> bool:
        found = await client.execute_command("SENTINEL MASTER", "jobs")
        seen = (found["num-other-sentinels"], found["num-slaves"])
        return bool(seen == (2, len(self.replicas)))

    async def _has_all(self, client: Any) -> bool:
        found = await client.info("replication")
        states = [found.get(f"slave{n}", {}).get("state") for n in range(len(self.replicas))]
        return states == ["online"] * len(self.replicas)


async def _until(port: int, check: Callable[[Any], Any]) -> None:
    client: Any = Redis(port=port)
    with anyio.fail_after(PATIENCE_S):
        while True:
            with suppress(Exception):
                if await check(client):
                    break
            await anyio.sleep(0.05)
    await client.aclose()


async def _insist(broker: RedisBroker, number: int) -> None:
    """Enqueue until the answer is certain."""
    payload = f'{{"number":{number}}}'.encode()
    job = make_job(f"job-{number}", type="note.write", payload=payload)
    with anyio.fail_after(PATIENCE_S):
        while True:
            try:
                (answer,) = (await broker.enqueue([job])).results
            except BrokerError:
                await anyio.sleep(0.05)
            else:
                assert isinstance(answer, Applied | Duplicate), answer
                return


async def _succeeded(broker: RedisBroker) -> int:
    return (await broker.stats()).queues[0].succeeded


async def _sessions(broker: RedisBroker) -> int:
    return len(await broker.sessions())


async def _count(
    count: Callable[[RedisBroker], Awaitable[int]], broker: RedisBroker, wanted: int
) -> None:
    """Return when there are as many as wanted."""
    with anyio.fail_after(PATIENCE_S):
        while True:
            if await count(broker) == wanted:
                return
            await anyio.sleep(0.1)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Give a way to start two workers; both must live at the end."""
    (tmp_path / "jobs.py").write_text(APP)
    started: list[subprocess.Popen[bytes]] = []

    def start(url: str) -> list[subprocess.Popen[bytes]]:
        for _ in range(2):
            with (tmp_path / "worker.log").open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "treadle", "worker", "jobs:jobs"],
                    cwd=tmp_path,
                    env={**os.environ, "QRUN_URL": url, "PYTHONPATH": str(tmp_path)},
                    stdout=log,
                    stderr=log,
                )
            started.append(process)
        return started

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
    codes = [process.wait(timeout=300) for process in started]
    assert codes == [0] * len(started), (tmp_path / "worker.log").read_text()[-3_000:]


@pytest.mark.promise(1)
@pytest.mark.promise(9)
@pytest.mark.parametrize("kind", ["Sentinel", "Cluster"])
@pytest.mark.parametrize("replicas", [0, 1])
async def test_a_primary_that_is_killed_under_load_is_replaced(
    broker_at: Make, start: Start, cluster_of: Start, fleet: Fleet, kind: str, replicas: int
) -> None:
    group = Group(start, replicas=2) if kind == "Sentinel" else cluster_of(3, replicas=2)
    await group.settle()
    url = group.url("timeout=2", *[f"replicas={replicas}"] * (replicas > 0))
    workers = fleet(url)
    gaps: list[float] = []
    numbers = range(600)
    async with broker_at(url) as broker:
        await _count(_sessions, broker, len(workers))
        for number in numbers:
            if number == 200:
                group.primary.stop(kill=True)
            began = time.monotonic()
            await _insist(broker, number)
            gaps.append(time.monotonic() - began)
        refs = [Ref("default", f"job-{number}") for number in numbers]
        found = await broker.get(refs)
        lost = [ref.id for ref, record in zip(refs, found, strict=True) if record is None]
        await _count(_succeeded, broker, len(numbers) - len(lost))

    print(
        f"\n{kind}, replicas={replicas}, down after {DOWN_AFTER_MS / 1_000:g} s: the longest"
        f" enqueue took {max(gaps):.1f} s; {len(lost)} of {len(numbers)} acknowledged jobs lost"
    )
    assert all(worker.poll() is None for worker in workers)
    assert len(lost) == 0 or replicas == 0, lost


async def test_workers_that_wait_hear_of_jobs_on_the_node_that_took_over(
    broker_at: Make, cluster_of: Start, fleet: Fleet
) -> None:
    cluster = cluster_of(3, replicas=1)
    await cluster.settle()
    workers = fleet(cluster.url())
    async with broker_at(cluster.url()) as broker:
        await _count(_sessions, broker, len(workers))
        cluster.primary.stop(kill=True)

        for number in range(10):
            await _insist(broker, number)
            await _count(_succeeded, broker, number + 1)

    assert all(worker.poll() is None for worker in workers)


async def test_what_no_replica_has_is_uncertain_also_when_it_is_asked_again(
    broker_at: Make, start: Start
) -> None:
    primary = start("--repl-diskless-sync-delay", "0", "--appendfsync", "always")
    replica = start("--replicaof", f"127.0.0.1 {primary.port}")

    async def online(client: Any) -> bool:
        return bool((await client.info("replication"))["slave0"]["state"] == "online")

    await _until(primary.port, online)
    await _insist_on_the_replica(broker_at, f"{primary.url}?replicas=1&timeout=2", replica)


async def test_in_a_cluster_it_is_uncertain_as_well(broker_at: Make, cluster_of: Start) -> None:
    cluster = cluster_of(1, replicas=1)
    await cluster.settle()
    (_, replica) = cluster.nodes

    await _insist_on_the_replica(broker_at, cluster.url("replicas=1", "timeout=2"), replica)


async def _insist_on_the_replica(broker_at: Make, url: str, replica: Any) -> None:
    async with broker_at(url) as broker, broker_at(url) as other:
        await stored(broker, make_job("safe"))
        assert (await broker.describe()).durability is Durability.NODE_LOSS
        hand = await Hand.open(broker)
        record = await hand.claim_one()
        settles = change(record, Succeeded(), record.head.claimed)
        replica.pause()

        with pytest.raises(BrokerUnavailable, match="0 of 1 replicas"):
            await broker.apply([settles])
        with pytest.raises(BrokerUnavailable, match="0 of 1 replicas"):
            await other.apply([settles])  # settled already: an answer that writes nothing
        with pytest.raises(Uncertain, match="0 of 1 replicas"):
            await broker.enqueue([make_job("a")])
        with pytest.raises(Uncertain, match="0 of 1 replicas"):
            await other.enqueue([make_job("a")])

        replica.resume()
        with anyio.fail_after(PATIENCE_S):
            while True:
                with suppress(Uncertain):
                    (answer,) = (await other.enqueue([make_job("a")])).results
                    break
        assert isinstance(answer, Duplicate)


async def test_a_worker_settles_what_it_had_before_a_failover(
    broker_at: Make, start: Start
) -> None:
    group = Group(start, replicas=2)
    await group.settle()
    async with broker_at(group.url("replicas=1", "timeout=2")) as broker:
        hand = await Hand.open(broker, lease_ms=600_000)
        await stored(broker, make_job("a"))
        record = await hand.claim_one()

        group.primary.stop(kill=True)
        with anyio.fail_after(PATIENCE_S):
            while True:
                try:
                    await hand.end(record, Succeeded())
                except BrokerError:
                    await anyio.sleep(0.05)
                else:
                    break
        (known,) = await broker.get([Ref("default", "a")])

    assert known is not None
    assert known.head.state is State.SUCCEEDED
    assert [row.fence for row in known.history] == [record.head.fence]


async def test_an_old_primary_that_comes_back_is_not_written_to(
    broker_at: Make, start: Start
) -> None:
    group = Group(start, replicas=2)
    await group.settle()
    async with broker_at(group.url("timeout=2")) as broker:
        await stored(broker, make_job("a"))
        group.primary.pause()

        await _insist(broker, 1)
        group.primary.resume()
        for number in range(2, 100):
            await _insist(broker, number)
        found = await broker.get([Ref("default", f"job-{number}") for number in range(1, 100)])

    assert None not in found


async def test_a_replica_that_sentinels_still_name_is_not_read(
    broker_at: Make, start: Start, through: Through
) -> None:
    group = Group(start, replicas=1)
    await group.settle()
    (replica,) = group.replicas

    async with through(group.sentinels[0].port) as proxy:
        named, other = str(group.primary.port).encode(), str(replica.port).encode()
        proxy.replaces = (b"\r\n%s\r\n" % named, b"\r\n%s\r\n" % other)

        with pytest.raises(BrokerUnavailable, match="is a replica: a failover is under way"):
            await broker_at(f"redis+sentinel://127.0.0.1:{proxy.port}/jobs").connect()


async def test_one_sentinel_of_three_is_enough_to_connect(broker_at: Make, start: Start) -> None:
    group = Group(start, replicas=1)
    await group.settle()
    for sentinel in group.sentinels[:2]:
        sentinel.stop(kill=True)

    async with broker_at(group.url()) as broker:
        await stored(broker, make_job("a"))
        described = await broker.describe()

    assert any("a failover may lose" in warning for warning in described.warnings)
    for sentinel in group.sentinels:
        sentinel.stop()
    with pytest.raises(BrokerUnavailable, match="no sentinel leads to a primary"):
        await broker_at(group.url()).connect()


async def test_sentinels_that_cannot_help_are_told_in_a_sentence(
    broker_at: Make, start: Start, tmp_path: Path
) -> None:
    server = start()
    closed = start(sentinel=f"sentinel monitor jobs 127.0.0.1 {server.port} 1\nrequirepass watch\n")
    (tmp_path / "password").write_text("watch\n")
    at = f"redis+sentinel://127.0.0.1:{closed.port}"

    with pytest.raises(BrokerRefused, match="refuses user or password"):
        await broker_at(f"{at}/jobs").connect()
    with pytest.raises(BrokerRefused, match="knows no primary named 'other'"):
        await broker_at(f"{at}/other?sentinel_password_file={tmp_path}/password").connect()
    with pytest.raises(BrokerRefused, match="does not answer as a sentinel"):
        await broker_at(f"redis+sentinel://127.0.0.1:{server.port}/jobs").connect()
    async with broker_at(f"{at}/jobs?sentinel_password_file={tmp_path}/password&db=1") as broker:
        await stored(broker, make_job("a"))


@pytest.mark.parametrize(
    "wrong",
    [
        "redis+sentinel://h:26379",
        "redis+sentinel://h:26379/jobs/0",
        "redis+sentinel://h,i/jobs",
        "redis+sentinel://h/jobs?servers=a:b",
        "redis+sentinel://h/jobs?db=x",
        "redis://h?servers=a:1",
        "redis://h?replicas=-1",
        "redis+sentinel://h/jobs?ca=x",
    ],
)
async def test_urls_of_sentinels_are_checked(broker_at: Make, wrong: str) -> None:
    with pytest.raises(ConfigurationError):
        broker_at(wrong)
