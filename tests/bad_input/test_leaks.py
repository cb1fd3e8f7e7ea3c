"""Handlers that leave things behind: the worker lives, and the next job starts clean where it can."""

from __future__ import annotations

import asyncio
import contextlib
import locale
import os
import signal
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

import anyio
import pytest

from tests.support.places import Place
from treadle.domain.state import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise(10)]

TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")


@pytest.fixture
def as_it_was() -> Iterator[None]:
    """Put back what the handlers of a test change in this process."""
    folder, spoken = Path.cwd(), locale.setlocale(locale.LC_ALL)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    os.chdir(folder)
    locale.setlocale(locale.LC_ALL, spoken)
    for number, handler in handlers.items():
        signal.signal(number, handler)


async def test_a_context_variable_set_in_a_thread_is_not_seen_by_the_next_job(place: Place) -> None:
    seen: list[str] = []

    @place.jobs.handler("sync")
    def sync(name: str) -> None:
        seen.append(TENANT.get())
        TENANT.set(name)

    for name in ("ada", "bob", "eve"):
        await place.store("sync", b'{"name": "%s"}' % name.encode())
    await place.burst(concurrency=1)

    assert seen == ["nobody"] * 3


async def test_threads_that_a_handler_starts_hold_nothing_up(place: Place) -> None:
    stop = threading.Event()
    started: list[threading.Thread] = []

    @place.jobs.handler("threads")
    def threads() -> None:
        thread = threading.Thread(target=stop.wait, args=(30,))
        thread.start()
        started.append(thread)

    ids = [await place.store("threads") for _ in range(5)]

    await place.burst()
    stop.set()
    for thread in started:
        await anyio.to_thread.run_sync(thread.join, 5)

    assert await place.states(ids) == [State.SUCCEEDED] * 5


async def test_a_handler_that_changes_the_process_does_not_hurt_the_worker(
    place: Place, as_it_was: None, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()

    @place.jobs.handler("vandal")
    async def vandal() -> None:
        os.chdir(gone)
        gone.rmdir()
        with contextlib.suppress(locale.Error):
            locale.setlocale(locale.LC_ALL, "C.UTF-8")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.umask(os.umask(0o077))

    @place.jobs.handler("good")
    async def good(number: int) -> float:
        return number / 2

    bad = await vandal.enqueue()
    async with place.worker(concurrency=1):
        (record,) = await place.until_final(bad.id)
        after = await good.enqueue(5)
        result = await after.result(timeout=10)

    assert record.head.state is State.SUCCEEDED
    assert result == 2.5


async def test_a_task_that_a_handler_leaks_neither_fails_its_job_nor_the_worker(
    place: Place,
) -> None:
    ended: list[str] = []
    kept: list[asyncio.Task[None]] = []

    async def leaked() -> None:
        try:
            await asyncio.sleep(0.01)
            raise ValueError("nobody waits for this")
        finally:
            ended.append("leaked")

    @place.jobs.handler("leak")
    async def leak() -> str:
        kept.append(asyncio.get_running_loop().create_task(leaked()))
        return "done"

    @place.jobs.handler("good")
    async def good() -> None: ...

    job = await leak.enqueue()
    async with place.worker(concurrency=1):
        assert await job.result(timeout=10) == "done"
        await asyncio.wait(kept)
        fine = await good.enqueue()
        await fine.result(timeout=10)

    assert ended == ["leaked"]
    assert isinstance(kept[0].exception(), ValueError)


async def test_a_scope_that_a_handler_leaves_open_or_cancels_hurts_only_its_own_attempt(
    place: Place,
) -> None:
    @place.jobs.handler("scope")
    async def scope(how: str) -> None:
        if how == "cancel":
            with anyio.CancelScope() as own:
                own.cancel()
                await anyio.sleep(1)
        else:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await anyio.sleep(1)

    @place.jobs.handler("good")
    async def good() -> None: ...

    ids = [(await scope.options(retry=0).enqueue(how)).id for how in ("cancel", "itself")]
    fine = [(await good.enqueue()).id for _ in range(3)]

    async with place.worker(concurrency=1):
        records = await place.until_final(*ids, *fine)

    states = [record.head.state for record in records]
    assert states == [State.SUCCEEDED, State.DEAD, *[State.SUCCEEDED] * 3]
