"""Calls from threads without a loop, clients on several loops, and what a fork leaves of both."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import anyio
import pytest

from tests.support.clients import Shop, make_job
from treadle.domain.job import Ref
from treadle.domain.state import Shown
from treadle.errors import JobNotFound, WrongThread
from treadle.runtime.clock import SystemClock
from treadle.runtime.portal import PORTAL, Portal


@pytest.fixture
def shop() -> Shop:
    """Open a shop on real time."""
    return Shop(SystemClock())


async def _thread() -> int:
    return threading.get_ident()


def test_calls_of_all_threads_run_on_one_thread_of_their_own() -> None:
    with ThreadPoolExecutor(4) as threads:
        used = {call.result() for call in [threads.submit(PORTAL.call, _thread) for _ in range(20)]}

    assert len(used) == 1
    assert threading.get_ident() not in used


def test_what_the_call_raises_is_raised_here() -> None:
    async def fail() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        PORTAL.call(fail)


def test_a_stopped_portal_starts_again() -> None:
    portal = Portal()

    first = portal.call(_thread)
    portal.stop()
    portal.stop()
    second = portal.call(_thread)
    portal.stop()

    assert first
    assert second


@pytest.mark.anyio
async def test_a_sync_call_on_a_running_loop_names_its_async_twin(anyio_backend: str) -> None:
    client = Shop(SystemClock()).client()

    with pytest.raises(WrongThread, match=r"enqueue_sync\(\) was called .*Write `await"):
        client.enqueue_sync([make_job()])


def test_the_sync_twins_do_what_the_async_ones_do(shop: Shop) -> None:
    client = shop.client()
    (job,) = client.enqueue_sync([make_job()])

    async def work() -> None:
        await shop.run()

    anyio.run(work)

    assert job.result_sync(timeout=5) == ("email.send", 42)
    assert job.refresh_sync().state is Shown.SUCCEEDED
    job.retry_sync()
    assert job.refresh_sync().state is Shown.QUEUED
    job.cancel_sync()
    assert job.refresh_sync().state is Shown.CANCELLED
    PORTAL.call(client.close)


def test_each_loop_has_a_broker_of_its_own_and_leaves_none_behind(shop: Shop) -> None:
    client = shop.client()
    (first,) = client.enqueue_sync([make_job("first")])
    assert shop.arrived.connected == 1

    async def main() -> None:
        (second,) = await client.enqueue([make_job("second")])
        assert shop.arrived.connected == 2
        assert (await client.handle("first")) == first
        await second.refresh()

    for backend in ("asyncio", "trio"):
        anyio.run(main, backend=backend)
        # Nobody closed it: the end of the loop did.
        assert shop.arrived.connected == 1

    PORTAL.call(client.close)
    assert shop.arrived.connected == 0


def test_a_client_that_connects_and_fails_is_closed_with_its_loop(shop: Shop) -> None:
    client = shop.client()

    async def main() -> None:
        with pytest.raises(JobNotFound):
            await client.get(Ref("", "nobody"))

    anyio.run(main)

    assert shop.arrived.connected == 0


def _run(program: str, folder: Path, *options: str) -> tuple[str, str, int]:
    done = subprocess.run(
        [sys.executable, *options, "-c", dedent(program)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout, done.stderr, done.returncode


@pytest.mark.promise(1)
def test_after_a_fork_parent_and_child_both_go_on(tmp_path: Path) -> None:
    program = """
        import os, warnings
        from treadle import Jobs
        from treadle.runtime.portal import PORTAL

        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        jobs = Jobs("sqlite:///jobs.db")

        @jobs.handler
        def add(a: int) -> int:
            return a

        add.enqueue_sync(1)
        child = os.fork()
        if child == 0:
            add.enqueue_sync(2)
            raise SystemExit(7)
        add.enqueue_sync(3)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 7
        add.enqueue_sync(4)
        (stats,) = PORTAL.call(jobs.client.stats).queues
        print(stats.waiting)
    """

    assert _run(program, tmp_path) == ("4\n", "", 0)


def test_a_script_ends_although_nobody_closed_anything(tmp_path: Path) -> None:
    program = """
        import anyio
        from treadle import Jobs

        jobs = Jobs("sqlite:///jobs.db")

        @jobs.handler
        def add(a: int) -> int:
            return a

        async def main() -> None:
            await add.enqueue(1)

        add.enqueue_sync(2)
        anyio.run(main)
        print("done")
    """

    assert _run(program, tmp_path, "-W", "error") == ("done\n", "", 0)
