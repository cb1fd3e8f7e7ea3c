"""Handlers that use the task groups of their own event loop: what is stopped did not fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import trio

from tests.support.works import Works
from treadle.domain.job import Policy
from treadle.domain.outcome import Failed
from treadle.domain.state import State
from treadle.runtime.failures import failure

pytestmark = [pytest.mark.anyio, pytest.mark.promise(10)]

ONCE = Policy(max_attempts=1, timeout_ms=60_000)


async def _together(*functions: Callable[[], Awaitable[Any]]) -> None:
    """Run functions in a task group that the event loop itself brings."""
    if "trio" in type(anyio.lowlevel.current_token().native_token).__module__:
        async with trio.open_nursery() as nursery:
            for function in functions:
                nursery.start_soon(function)
    else:
        async with asyncio.TaskGroup() as group:
            for function in functions:
                group.create_task(_of(function))


async def _of(function: Callable[[], Awaitable[Any]]) -> None:
    await function()


def _register(works: Works) -> anyio.Event:
    started = anyio.Event()

    async def rude() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("rude")

    @works.registry.handler("group")
    async def group(rudely: bool = False) -> None:
        started.set()
        await _together(anyio.sleep_forever, rude if rudely else anyio.sleep_forever)

    return started


async def test_a_native_group_that_runs_over_the_time_limit_ends_as_timeout(works: Works) -> None:
    _register(works)
    id = await works.enqueue("group", policy=ONCE)

    async with works.worker():
        (record,) = await works.until_final(id)

    assert (record.head.state, record.head.reason) == (State.DEAD, "timeout")


async def test_a_native_group_that_is_handed_back_counts_no_attempt(works: Works) -> None:
    started = _register(works)
    id = await works.enqueue("group", policy=ONCE)

    async with works.worker(grace_ms=0) as worker:
        await started.wait()
        worker.drain()

    record = await works.get(id)
    assert (record.head.state, record.head.attempt) == (State.WAITING, 0)
    assert [row.event for row in record.history] == ["interrupt"]


async def test_what_a_native_group_raises_while_it_is_stopped_is_its_failure(works: Works) -> None:
    _register(works)
    id = await works.enqueue("group", b'{"rudely": true}', policy=ONCE)

    async with works.worker():
        (record,) = await works.until_final(id)

    error = record.history[-1].error
    assert (record.head.state, record.head.reason) == (State.DEAD, "exhausted")
    assert error is not None
    assert error.type == "ExceptionGroup"
    assert "ValueError: rude" in error.message
    assert "Cancelled" not in error.message


async def test_a_group_that_ends_processes_is_read_in_a_thread_too(works: Works) -> None:
    group = BaseExceptionGroup("both", [KeyboardInterrupt(), ValueError("inside")])

    told = await anyio.to_thread.run_sync(failure, group)

    assert isinstance(told, Failed)
    assert "ValueError: inside" in told.error.message
