"""Three servers: the one that leads is killed under load."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from treadle_nats import NatsBroker
from treadle_nats.address import locate
from treadle_nats.link import Link

from treadle.broker.url import parse
from treadle.broker.values import Applied, Duplicate
from treadle.conformance.hand import Hand, make_job
from treadle.domain.job import Ref
from treadle.domain.outcome import Succeeded
from treadle.errors import BrokerError
from treadle.runtime.clock import SystemClock

pytestmark = pytest.mark.anyio

Make = Callable[..., Any]


def _broker(url: str) -> NatsBroker:
    return NatsBroker(parse(url), SystemClock())


async def _leader(url: str) -> str:
    """Return the name of the server that leads the log."""
    link = Link(locate(parse(url)), lambda: None)
    await link.connect()
    answer = await link.api(f"STREAM.INFO.{link.address.stream}")
    await link.close()
    name: str = answer["cluster"]["leader"]
    return name


async def _connected(url: str) -> NatsBroker:
    """Connect as soon as the cluster can make a stream."""
    broker = _broker(url)
    with anyio.fail_after(40):
        while True:
            try:
                await broker.connect()
            except BrokerError:
                await anyio.sleep(0.1)
            else:
                return broker


async def _insist(broker: NatsBroker, id: str) -> None:
    """Enqueue until the answer is certain."""
    with anyio.fail_after(40):
        while True:
            try:
                (answer,) = (await broker.enqueue([make_job(id)])).results
            except BrokerError:
                await anyio.sleep(0.05)
            else:
                assert isinstance(answer, Applied | Duplicate), answer
                return


@pytest.mark.proof
@pytest.mark.cluster
@pytest.mark.timeout(120)
@pytest.mark.promise(1)
@pytest.mark.promise(9)
async def test_a_leader_that_is_killed_takes_no_job_with_it(make_cluster: Make) -> None:
    servers = make_cluster(3)
    others = ",".join(f"127.0.0.1:{server.port}" for server in servers[1:])
    url = f"{servers[0].url}?servers={others}&replicas=3&timeout_ms=2000&log_bytes=65536"
    broker = await _connected(url)
    ids = [f"job-{n}" for n in range(200)]
    longest = 0.0
    leader = await _leader(url)

    for n, job_id in enumerate(ids):
        if n == 100:
            next(one for one in servers if one.name == leader).stop(signal.SIGKILL)
        started = time.monotonic()
        await _insist(broker, job_id)
        longest = max(longest, time.monotonic() - started)
    hand = await Hand.open(broker)
    claimed = await hand.claim(1_000)
    for record in claimed:
        await hand.end(record, Succeeded())
    found = await broker.get([Ref("default", job_id) for job_id in ids])
    await broker.disconnect()

    print(f"longest enqueue while the leader was replaced: {longest:.1f} s")
    assert sorted(record.job.id for record in claimed) == sorted(ids)
    assert [record.head.state.name for record in found if record is not None] == ["SUCCEEDED"] * 200
