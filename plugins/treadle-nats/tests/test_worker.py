"""A real worker process on a real server: end to end, and with the server restarted under it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from treadle_nats import NatsBroker

from treadle.broker.url import parse
from treadle.errors import BrokerError
from treadle.runtime.clock import SystemClock

pytestmark = pytest.mark.anyio

APP = """
import asyncio

from treadle import Jobs

jobs = Jobs()

@jobs.handler("add")
async def add(n: int) -> int:
    await asyncio.sleep(0.02)
    return n + 1

async def main() -> None:
    async with jobs:
        await add.enqueue_many([{"n": n} for n in range(200)])

if __name__ == "__main__":
    asyncio.run(main())
"""


def _start(folder: Path, url: str, *command: str) -> subprocess.Popen[bytes]:
    (folder / "app.py").write_text(APP)
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "QRUN_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


async def _end(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    said, _ = await anyio.to_thread.run_sync(lambda: process.communicate(timeout=240))
    return process.returncode, said.decode()


async def _succeeded(url: str) -> int:
    async with NatsBroker(parse(url), SystemClock()) as broker:
        return sum(queue.succeeded for queue in (await broker.stats()).queues)


@pytest.mark.promise(1)
async def test_a_worker_runs_what_another_process_enqueued(
    server: Any, namespace: str, tmp_path: Path
) -> None:
    url = f"{server.url}?namespace={namespace}"
    assert (await _end(_start(tmp_path, url, "app.py")))[0] == 0

    code, said = await _end(_start(tmp_path, url, "-m", "treadle", "worker", "app:jobs", "--burst"))

    assert code == 0, said
    assert await _succeeded(url) == 200


@pytest.mark.promise(9)
async def test_a_worker_goes_on_when_the_server_was_killed_and_came_back(
    make_server: Callable[..., Any], tmp_path: Path
) -> None:
    server = make_server()
    worker = _start(
        tmp_path, server.url, "-m", "treadle", "worker", "app:jobs", "--concurrency", "5"
    )
    assert (await _end(_start(tmp_path, server.url, "app.py")))[0] == 0
    with anyio.fail_after(300):
        while await _succeeded(server.url) < 20:  # noqa: ASYNC110 - another process works
            await anyio.sleep(0.05)

    server.stop(signal.SIGKILL)
    server.start()

    done = 0
    with anyio.fail_after(240):
        while done < 200:
            await anyio.sleep(0.1)
            try:
                done = await _succeeded(server.url)
            except BrokerError:
                continue
    worker.send_signal(signal.SIGTERM)
    code, said = await _end(worker)
    assert code == 0, said
    assert "Traceback" not in said
