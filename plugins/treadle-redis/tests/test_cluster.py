"""A cluster of three nodes: refused with a sentence, whoever asks, and nothing is written there."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis
from treadle_redis import RedisBroker

from treadle.errors import BrokerRefused

pytestmark = [pytest.mark.anyio, pytest.mark.cluster, pytest.mark.timeout(400)]

Make = Callable[[str], RedisBroker]
Start = Callable[..., Any]
PATIENCE_S = 120
SLOTS = 16_384
USER = "worker on >secret ~* &* +@all -@dangerous"


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


async def _cluster(start: Start) -> list[int]:
    """Start three nodes that share all slots, and wait until each finds that all is well."""
    buses = [_free_port() for _ in range(3)]
    nodes = [
        start("--cluster-enabled", "yes", "--cluster-port", str(bus), "--user", USER)
        for bus in buses
    ]
    third = SLOTS // 3
    for number, node in enumerate(nodes):
        client: Any = Redis(port=node.port)
        last = SLOTS - 1 if number == 2 else (number + 1) * third - 1
        await client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * third, last)
        for other, bus in zip(nodes, buses, strict=True):
            await client.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port, bus)
        await client.aclose()
    with anyio.fail_after(PATIENCE_S):
        for node in nodes:
            client = Redis(port=node.port)
            while True:
                said = str(await client.execute_command("CLUSTER INFO"))
                if "'ok'" in said and "'cluster_known_nodes': '3'" in said:
                    break
                await anyio.sleep(0.05)
            await client.aclose()
    return [node.port for node in nodes]


async def test_a_cluster_is_refused_in_one_line(broker_at: Make, start: Start) -> None:
    ports = await _cluster(start)

    for port in ports:
        for login in ("", "worker:secret@"):  # who may not ask INFO is told the same
            with pytest.raises(BrokerRefused, match="is part of a cluster") as refusal:
                await broker_at(f"redis://{login}127.0.0.1:{port}").connect()
            assert "\n" not in str(refusal.value)
        client: Any = Redis(port=port)
        assert await client.dbsize() == 0
        await client.aclose()


async def test_the_command_ends_with_its_code_for_brokers(start: Start) -> None:
    ports = await _cluster(start)

    done = await anyio.run_process(
        [sys.executable, "-m", "treadle", "queues", "list"],
        check=False,
        env={**os.environ, "QRUN_URL": f"redis://127.0.0.1:{ports[0]}"},
    )

    assert done.returncode == 4
    assert b"is part of a cluster" in done.stderr
    assert b"Traceback" not in done.stderr
