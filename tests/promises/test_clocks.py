"""Clocks that are wrong by a day, or jump by one, both ways: no loss, no duplicate, no early run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
import pytest

from tests.support.places import Place
from treadle import Context
from treadle.conformance.clock import DAY, MINUTE, MovableClock
from treadle.domain.job import After, Policy
from treadle.domain.retry import Fixed
from treadle.domain.state import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise(11)]

JUMPS = pytest.mark.parametrize("jump", [DAY, -DAY], ids=["forward", "back"])
ONE_RETRY = Policy(max_attempts=2, retry=Fixed(delay_ms=50))


def _wrong(by: int) -> MovableClock:
    clock = MovableClock()
    clock.run()
    clock.jump(by)
    return clock


@JUMPS
async def test_workers_whose_clocks_are_wrong_by_a_day_lose_and_double_nothing(
    place: Place, jump: int
) -> None:
    ran: Counter[str] = Counter()

    @place.jobs.handler("work")
    async def work(ctx: Context, fail: bool = False) -> None:
        ran[ctx.job_id] += 1
        await anyio.sleep(0.002)
        if fail and ctx.attempt == 1:
            raise ValueError("once")

    plain = [await place.store("work", policy=ONE_RETRY) for _ in range(30)]
    failing = [await place.store("work", b'{"fail": true}', policy=ONE_RETRY) for _ in range(10)]
    later = await place.store("work", due=After(10 * MINUTE))

    options: dict[str, Any] = {"lease_ms": 60_000, "beat_ms": 100, "sweep_ms": 50, "concurrency": 3}
    async with (
        place.worker(name="wrong", clock=_wrong(jump), **options) as wrong,
        place.worker(name="right", **options) as right,
    ):
        records = await place.until_final(*plain, *failing)

    assert {record.head.state for record in records} == {State.SUCCEEDED}
    assert [ran[id] for id in plain] == [1] * 30
    assert [ran[id] for id in failing] == [2] * 10
    assert (later in ran, await place.states([later])) == (False, [State.WAITING])
    assert wrong.report.lost == right.report.lost == 0
    assert wrong.report.lease_lost == right.report.lease_lost == 0
    assert wrong.report.claimed > 0


@JUMPS
async def test_a_worker_whose_clock_is_wrong_sets_delays_by_the_brokers_clock(
    place: Place, jump: int
) -> None:
    @place.jobs.handler("fail")
    async def fail() -> None:
        raise ValueError("no")

    id = await place.store("fail", policy=Policy(retry=Fixed(delay_ms=MINUTE)))
    worker = place.make_worker(clock=_wrong(jump), burst=True, beat_in_thread=False)
    await worker.run()

    record = await place.get(id)
    assert record.head.state is State.WAITING
    assert 0 <= record.head.due - place.clock.time_ms() <= MINUTE
    assert place.clock.time_ms() - record.head.claimed < MINUTE


@JUMPS
async def test_a_clock_that_jumps_while_jobs_run_costs_no_job_and_runs_none_twice(
    place: Place, jump: int
) -> None:
    ran: Counter[str] = Counter()
    started, go = anyio.Event(), anyio.Event()

    @place.jobs.handler("hold")
    async def hold(ctx: Context) -> None:
        ran[ctx.job_id] += 1
        if len(ran) == 3:
            started.set()
        await go.wait()

    @place.jobs.handler("work")
    async def work(ctx: Context) -> None:
        ran[ctx.job_id] += 1

    held = [await place.store("hold") for _ in range(3)]
    options: dict[str, Any] = {"beat_ms": 100, "sweep_ms": 50}

    async with place.worker(concurrency=5, **options), place.worker(name="w2", **options) as other:
        await started.wait()
        place.clock.jump(jump)
        fresh = [await place.store("work") for _ in range(20)]
        await place.until_final(*fresh)
        go.set()
        records = await place.until_final(*held)

    assert {record.head.state for record in records} == {State.SUCCEEDED}
    assert set(ran.values()) == {1}
    assert [[row.event for row in record.history] for record in records] == [["succeed"]] * 3
    assert other.report.lost == 0


async def test_a_clock_that_is_set_back_holds_a_dead_workers_jobs_for_one_lease_at_most(
    place: Place,
) -> None:
    @place.jobs.handler("work")
    async def work() -> None: ...

    id = await place.store("work")
    dead = await place.broker.open("dead", 15_000, b"{}")
    await place.broker.claim(dead.session, ["default"], 1)
    place.clock.jump(-DAY)
    await place.broker.overdue(10)  # somebody sweeps, so the jump is seen

    place.clock.advance(15_001)
    overdue = (await place.broker.overdue(10)).records

    assert [record.job.id for record in overdue] == [id]


@JUMPS
async def test_a_delayed_job_is_not_early_by_the_clock_that_jumped(place: Place, jump: int) -> None:
    ran: list[int] = []

    @place.jobs.handler("later")
    async def later() -> None:
        ran.append(place.clock.time_ms())

    due = place.clock.time_ms() + 2 * DAY
    await place.store("later", due=After(2 * DAY))

    place.clock.jump(jump)
    await place.burst()
    place.clock.jump(-jump)
    await place.burst()
    assert ran == []

    place.clock.advance(2 * DAY)
    await place.burst()
    assert len(ran) == 1
    assert ran[0] >= due
