"""Handlers that block the loop, overrun their time limit or will not stop: neighbours live on."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import anyio
import pytest

from tests.support.attempts import until
from tests.support.logs import told
from tests.support.places import Place
from treadle import Context
from treadle.domain.job import Policy, Record
from treadle.domain.selection import Ordered
from treadle.domain.state import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise(10)]

ONE_SHORT_TRY = Policy(max_attempts=1, timeout_ms=150)


@pytest.mark.blocks
@pytest.mark.promise(6)
async def test_a_handler_that_blocks_the_loop_keeps_its_lease_and_its_neighbours(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    @place.jobs.handler("block")
    async def block() -> str:
        time.sleep(6.5)  # noqa: ASYNC251 - that is the misdeed
        return "done"

    @place.jobs.handler("quick")
    async def quick() -> None: ...

    id = await place.store("block")
    others = [await place.store("quick") for _ in range(5)]
    options: dict[str, Any] = {"lease_ms": 4_000, "beat_ms": 100, "sweep_ms": 100}
    elsewhere = place.make_worker(name="w2", selection=Ordered(("none",)), **options)
    sweeper = threading.Thread(target=anyio.run, args=(elsewhere.run,), daemon=True)
    sweeper.start()

    with caplog.at_level(logging.WARNING, "treadle.beat"):
        async with place.worker(concurrency=1, **options):
            records = await place.until_final(id, *others)
    elsewhere.drain(0)
    await anyio.to_thread.run_sync(sweeper.join, 60)

    assert {record.head.state for record in records} == {State.SUCCEEDED}
    assert [[row.event for row in record.history] for record in records] == [["succeed"]] * 6
    assert elsewhere.report.lost == 0
    warnings = [vars(each) for each in caplog.records if each.message == "loop_blocked"]
    assert any("time.sleep(6.5)" in warning["stack"] for warning in warnings)


async def test_handlers_that_stop_when_told_fail_as_timeout_and_are_retried(place: Place) -> None:
    @place.jobs.handler("async")
    async def slow() -> None:
        await anyio.sleep(60)

    @place.jobs.handler("sync")
    def slow_sync(ctx: Context) -> None:
        while not ctx.cancelled:
            time.sleep(0.005)

    @place.jobs.handler("second")
    async def second(ctx: Context) -> int:
        if ctx.attempt == 1:
            await anyio.sleep(60)
        return ctx.attempt

    policy = Policy(max_attempts=2, timeout_ms=1_000)
    ids = [await place.store(name, policy=ONE_SHORT_TRY) for name in ("async", "sync")]
    again = await place.store("second", policy=policy)

    async with place.worker() as worker:
        dead = await place.until_final(*ids)
        (twice,) = await place.until_final(again)

    assert [(r.head.state, r.head.reason) for r in dead] == [(State.DEAD, "timeout")] * 2
    assert [row.event for row in twice.history] == ["fail", "succeed"]
    assert twice.result == b"2"
    assert (worker.report.stuck, worker.report.recycle) == (0, False)


@pytest.mark.parametrize("spins", [True, False], ids=["spins", "waits"])
async def test_a_handler_that_swallows_its_cancellation_is_given_up_as_timeout(
    place: Place, spins: bool
) -> None:
    release, stopped = anyio.Event(), anyio.Event()

    @place.jobs.handler("stubborn")
    async def stubborn() -> str:
        while not release.is_set():
            try:
                await release.wait()
            except anyio.get_cancelled_exc_class():
                stopped.set()
                if not spins:
                    with anyio.CancelScope(shield=True):
                        await release.wait()
        return "never mind"

    @place.jobs.handler("good")
    async def good() -> None: ...

    bad = await place.store("stubborn", policy=ONE_SHORT_TRY)

    with told("treadle.worker", "handler_ignores_cancel") as report:
        # A clock that jumps looks like a blocked loop to the heartbeat: it shall not settle first.
        patient: dict[str, Any] = {"lease_ms": 600_000, "blocked_warn_ms": 600_000}
        async with place.worker(concurrency=10, **patient) as worker:
            await stopped.wait()
            place.clock.advance(6_000)
            fields = await report.wait()
            (record,) = await place.until_final(bad)
            fine = await place.store("good")
            await place.until_final(fine)
            release.set()

    assert (record.head.state, record.head.reason) == (State.DEAD, "timeout")
    assert (fields["job_id"], fields["type"]) == (bad, "stubborn")
    assert len(report.records) == 1
    assert worker.report.stuck == 1
    assert not worker.report.recycle, "one slot of ten is no more than a tenth"
    assert worker.report.lease_lost == 0
    again = await place.get(bad)
    assert (again.head.fence, len(again.history)) == (record.head.fence, 1)


@pytest.mark.slow
async def test_a_thread_that_ignores_the_stop_is_abandoned_and_its_slot_goes_on(
    place: Place,
) -> None:
    release = threading.Event()

    @place.jobs.handler("deaf")
    def deaf() -> None:
        release.wait(240)

    @place.jobs.handler("good")
    def good() -> str:
        return threading.current_thread().name

    bad = await place.store("deaf", policy=ONE_SHORT_TRY)

    async with place.worker(concurrency=10, threads=1) as worker:
        (dead,) = await place.until_final(bad)
        fine = await place.store("good")
        (record,) = await place.until_final(fine)
        await until(lambda: bool(worker.report.stuck))
        release.set()

    assert (dead.head.state, dead.head.reason) == (State.DEAD, "timeout")
    assert record.head.state is State.SUCCEEDED


async def test_a_worker_that_lost_a_tenth_of_its_slots_asks_to_be_replaced(place: Place) -> None:
    release, stopped = anyio.Event(), [anyio.Event(), anyio.Event()]

    @place.jobs.handler("stubborn")
    async def stubborn(number: int) -> None:
        try:
            await release.wait()
        except anyio.get_cancelled_exc_class():
            stopped[number].set()
            with anyio.CancelScope(shield=True):
                await release.wait()

    ids = [
        await place.store("stubborn", b'{"number": %d}' % number, policy=ONE_SHORT_TRY)
        for number in range(2)
    ]

    records: list[Record] = []
    worker = place.make_worker(concurrency=10, lease_ms=600_000, grace_ms=600_000)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker.run)
        for event in stopped:
            await event.wait()
        place.clock.advance(6_000)
        with anyio.move_on_after(120):
            await worker.closed.wait()
        records += [await place.get(id) for id in ids]
        release.set()

    assert worker.report.recycle
    assert worker.closed.is_set(), "a drain waits for nobody who was given up"
    assert [(r.head.state, r.head.reason) for r in records] == [(State.DEAD, "timeout")] * 2
