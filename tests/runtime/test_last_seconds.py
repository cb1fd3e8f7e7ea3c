"""The last seconds of a worker: everything is handed back and settled, and nothing holds it."""

from __future__ import annotations

import threading

import anyio
import pytest

from tests.support.works import Works
from treadle.conformance.faults import Fault, Faults
from treadle.domain.job import Policy
from treadle.domain.retry import Fixed
from treadle.domain.state import State
from treadle.runtime.context import Context

pytestmark = pytest.mark.anyio


@pytest.mark.promise(4)
async def test_an_answer_about_an_earlier_attempt_does_not_give_up_the_lease_of_the_next(
    works: Works, road: Faults
) -> None:
    starts: list[int] = []

    @works.registry.handler("work")
    async def work(ctx: Context) -> None:
        starts.append(ctx.attempt)
        if len(starts) == 1:
            await anyio.sleep(1)
            road.script("apply", Fault.LOSE_REPLY)
            road.reply_delays["apply"] = 0.2
            raise ValueError("first")
        road.reply_delays.clear()
        await anyio.sleep(60)

    await works.enqueue("work", policy=Policy(retry=Fixed(delay_ms=0)))

    async with works.worker(concurrency=2) as worker:
        await anyio.sleep(50)  # virtual

    assert starts == [1, 2]
    assert worker.report.orphans == 0


@pytest.mark.promise(8)
async def test_outcomes_that_are_under_way_when_a_drain_ends_are_settled_when_closing(
    works: Works, road: Faults
) -> None:
    @works.registry.handler("work")
    async def work(seconds: float) -> None:
        await anyio.sleep(seconds)
        road.request_delays["apply"] = road.request_delays["turn"] = 30.0

    one = await works.enqueue("work", b'{"seconds": 2}')
    two = await works.enqueue("work", b'{"seconds": 3}')

    async with works.worker(grace_ms=4_000) as worker:
        await works.until_running(two)
        await anyio.sleep(0.5)
        worker.drain()
        await anyio.sleep(4.5)
        road.request_delays.clear()

    assert [await works.state(one), await works.state(two)] == [State.SUCCEEDED] * 2


@pytest.mark.promise(8)
async def test_a_drain_hands_back_at_once_what_ignores_its_cancellation(works: Works) -> None:
    @works.registry.handler("stubborn")
    async def stubborn() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(60)

    id = await works.enqueue("stubborn")
    began = works.clock.monotonic()

    async with works.worker(grace_ms=1_000) as worker:
        await works.until_running(id)
        await anyio.sleep(0.5)
        worker.drain()
        await works.until_waiting(id)
        took = works.clock.monotonic() - began

    assert took <= 0.5 + 1 + 2


@pytest.mark.promise(8)
async def test_what_was_handed_back_and_ends_while_the_worker_closes_has_one_outcome(
    works: Works, road: Faults
) -> None:
    begun, drained, ended = anyio.Event(), anyio.Event(), anyio.Event()

    @works.registry.handler("stubborn")
    async def stubborn() -> None:
        begun.set()
        with anyio.CancelScope(shield=True):
            await drained.wait()
            await anyio.sleep(2.1)  # it is handed back 1 s after the end of its grace period
            ended.set()

    id = await works.enqueue("stubborn")

    async with works.worker(grace_ms=1_000) as worker:
        await begun.wait()
        road.request_delays["apply"] = road.request_delays["turn"] = 0.2
        worker.drain()
        drained.set()

    assert ended.is_set()
    assert await works.state(id) is State.WAITING
    assert worker.report.lease_lost == 0


@pytest.mark.promise(8)
async def test_a_thread_that_ignores_the_stop_keeps_no_drained_worker_alive(works: Works) -> None:
    started, release = threading.Event(), threading.Event()

    @works.registry.handler("stubborn")
    def stubborn() -> None:
        started.set()
        release.wait(300)

    id = await works.enqueue("stubborn")
    try:
        async with works.worker(grace_ms=1_000) as worker:
            await works.until_running(id)
            await anyio.to_thread.run_sync(started.wait)
            worker.drain()
            began = works.clock.monotonic()
    finally:
        release.set()

    assert works.clock.monotonic() - began <= 1 + 2


@pytest.mark.promise(8)
async def test_what_a_call_under_way_brings_to_a_draining_worker_is_not_started(
    works: Works, road: Faults
) -> None:
    started: list[float] = []

    @works.registry.handler("work")
    async def work() -> None:
        started.append(works.clock.monotonic())
        await anyio.sleep(0.3)

    road.request_delays["turn"] = 0.2
    for n in range(12):
        for _ in range(60):
            await works.enqueue("work")
        async with works.worker(concurrency=4) as worker:
            await anyio.sleep(2.05 + n * 0.04)
            worker.drain()
            drained = works.clock.monotonic()
        assert [at - drained for at in started if at > drained + 0.05] == []


@pytest.mark.promise(8)
async def test_a_claim_cut_off_by_a_drain_is_handed_back_at_once(
    works: Works, road: Faults
) -> None:
    @works.registry.handler("work")
    async def work() -> None:
        await anyio.sleep(20)

    first = await works.enqueue("work")

    async with works.worker(concurrency=3) as worker:
        await works.until_running(first)
        await anyio.sleep(3)
        road.reply_delays["claim"] = 0.2
        second = await works.enqueue("work")
        await works.until_running(second)
        worker.drain()
        drained = works.clock.monotonic()
        await works.until_waiting(second)
        took = works.clock.monotonic() - drained

    assert took <= 0.25


@pytest.mark.promise(8)
async def test_handlers_that_never_suspend_let_a_drain_through(works: Works) -> None:
    ran: list[str] = []
    worker = works.make_worker(concurrency=10)

    @works.registry.handler("busy")
    async def busy(ctx: Context) -> None:
        ran.append(ctx.job_id)
        worker.drain()

    for _ in range(20):
        await works.enqueue("busy")

    await worker.run()

    assert len(ran) <= 10
