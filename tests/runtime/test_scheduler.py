"""Schedulers: every tick becomes one job, whoever fires it and whatever happens on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import Random
from typing import Any

import anyio
import pytest

from tests.support.works import Works
from treadle.broker.base import Broker, Filter
from treadle.conformance.faults import Fault, Faults, FaultyBroker, Rates
from treadle.domain.cron import fires
from treadle.domain.job import Priority, Ref
from treadle.domain.timetable import tick_id
from treadle.errors import ConfigurationError
from treadle.runtime.clock import BrokerClock
from treadle.runtime.scheduler import Scheduler
from treadle.runtime.schedules import Schedules

pytestmark = pytest.mark.anyio

MINUTE = 60.0
DAY = 24 * 60 * MINUTE


def _scheduler(works: Works, broker: Broker | None = None, **given: Any) -> Scheduler:
    return Scheduler(
        works.broker if broker is None else broker,
        declared=works.registry.timetable,
        clock=BrokerClock(works.clock),
        rng=Random(7),
        **given,
    )


@pytest.fixture
async def start(works: Works) -> int:
    """Begin at a full hour; return which one."""
    now = works.clock.time_ms()
    hour = (now // 3_600_000 + 1) * 3_600_000
    await anyio.sleep((hour - now) / 1000)
    return hour


@asynccontextmanager
async def _running(*schedulers: Scheduler) -> AsyncGenerator[None]:
    async with anyio.create_task_group() as tasks:
        for scheduler in schedulers:
            tasks.start_soon(scheduler.run)
        yield
        tasks.cancel_scope.cancel()


def _schedules(works: Works) -> Schedules:
    async def broker() -> Broker:
        return works.broker

    return Schedules(broker, lambda: works.registry.timetable)


async def _ids(works: Works) -> list[str]:
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = await works.broker.find(Filter(), cursor=cursor, limit=500)
        found += [record.job.id for record in page.records]
        cursor = page.cursor
        if cursor is None:
            return sorted(found)


def _report(works: Works, period: float = MINUTE, **given: Any) -> None:
    @works.registry.every(period, name="report", **given)
    async def report() -> None: ...


def _ticks(works: Works, name: str, start: int, end: int) -> list[str]:
    """Name the jobs of every tick in (start, end]."""
    found: list[str] = []
    for tick in fires(works.registry.timetable[name].schedule, start):
        if tick > end:
            return found
        found.append(tick_id(name, tick))
    return found


@pytest.mark.contract("F26")
async def test_each_tick_becomes_a_job_when_it_is_due_and_never_before(
    works: Works, start: int
) -> None:
    _report(works, queue="reports", priority="high", retry=1)

    async with _running(_scheduler(works)):
        await anyio.sleep(59.9)
        before = await _ids(works)
        await anyio.sleep(0.5)
        after = await _ids(works)

    at = datetime.fromtimestamp(start / 1000 + 60, UTC)
    assert before == []
    assert after == [f"cron:report:{at:%Y-%m-%dT%H:%M:%S}Z"]
    (record,) = await works.broker.get([Ref("reports", after[0])])
    assert record is not None
    assert record.head.due == start + 60_000
    assert record.job.priority is Priority.HIGH
    assert record.job.policy.max_attempts == 2
    assert record.job.meta == {"cron": "report"}


@pytest.mark.contract("F26", "R02")
async def test_a_worker_fires_and_runs_its_own_schedules(works: Works, start: int) -> None:
    ran: list[str] = []

    @works.registry.cron("*/5 * * * *", payload={"to": "ada"})
    async def digest(to: str) -> None:
        ran.append(to)

    async with works.worker(schedules=True):
        await anyio.sleep(20 * MINUTE + 1)

    assert ran == ["ada"] * 4


async def test_a_burst_fires_nothing(works: Works, start: int) -> None:
    _report(works, 1.0)

    await works.burst(schedules=True)

    assert await works.broker.documents("cron:") == []


@pytest.mark.promise(11)
@pytest.mark.contract("F26")
async def test_any_number_of_schedulers_fire_each_tick_once(works: Works, start: int) -> None:
    _report(works)
    written: Counter[str] = Counter()

    async with _running(*(_scheduler(works) for _ in range(7))):
        cursor = (await works.broker.events(None)).cursor
        await anyio.sleep(10 * MINUTE + 1)
        for event in (await works.broker.events(cursor)).entries:
            written[event.id] += 1

    assert set(written.values()) == {1}
    assert sorted(written) == _ticks(works, "report", start, start + 600_000)


@pytest.mark.parametrize(("catch_up", "fired"), [("all", 5), ("once", 1), ("skip", 0)])
async def test_after_a_long_stop_only_so_much_is_caught_up(
    works: Works, start: int, catch_up: str, fired: int
) -> None:
    _report(works, catch_up=catch_up, look_back=5 * MINUTE)
    async with _running(_scheduler(works)):
        await anyio.sleep(MINUTE + 1)
    before = await _ids(works)

    await anyio.sleep(2 * DAY + 29)
    async with _running(_scheduler(works)):
        await anyio.sleep(1)

    assert len(await _ids(works)) - len(before) == fired


async def test_a_paused_schedule_fires_nothing_and_catches_up_nothing(
    works: Works, start: int
) -> None:
    _report(works, look_back=3_600)
    schedules = _schedules(works)

    async with _running(_scheduler(works)):
        await anyio.sleep(MINUTE + 1)
        paused = await schedules.pause("report", by="ada")
        await anyio.sleep(10 * MINUTE)
        while_paused = await _ids(works)
        await schedules.resume("report")
        await anyio.sleep(MINUTE)

    assert (paused.by, paused.paused) == ("ada", start + 61_000)
    assert len(while_paused) == 1
    assert len(await _ids(works)) == 2


async def test_an_edit_at_run_time_is_seen_by_schedulers_that_run(works: Works, start: int) -> None:
    _report(works, 3_600.0)
    schedules = _schedules(works)

    async with _running(_scheduler(works)):
        await anyio.sleep(10)
        job = works.registry.timetable["report"].job()
        await schedules.put("report", job, every=30)
        await anyio.sleep(2 * MINUTE)

    assert len(await _ids(works)) == 4


async def test_an_edit_survives_a_restart_until_the_code_says_something_new(
    works: Works, start: int
) -> None:
    _report(works, 3_600.0)
    schedules = _schedules(works)
    own = works.registry.timetable["report"]
    await schedules.declare(own)
    edited = await schedules.put("report", own.job(), every=30)

    again = await schedules.declare(own)
    other = Works(works.clock)
    _report(other, 7_200.0)
    changed = await schedules.declare(other.registry.timetable["report"])

    assert again == edited
    assert changed.schedule == other.registry.timetable["report"].schedule


async def test_an_entry_that_the_code_lost_is_listed_and_not_fired(
    works: Works, start: int
) -> None:
    _report(works)
    await _schedules(works).declare(works.registry.timetable["report"])
    renamed = Works(works.clock)
    renamed.broker = works.broker

    @renamed.registry.every(MINUTE)
    async def monthly() -> None: ...

    async with _running(_scheduler(renamed)):
        await anyio.sleep(MINUTE + 1)
        listed = await _schedules(renamed).list()

    assert [(one.entry.name, one.orphan) for one in listed] == [
        ("monthly", False),
        ("report", True),
    ]
    assert await _ids(works) == _ticks(renamed, "monthly", start, start + 60_000)


async def test_a_schedule_that_is_only_stored_is_fired_by_any_process(
    works: Works, start: int
) -> None:
    _report(works, 3_600.0)
    job = works.registry.timetable["report"].job()
    other = Works(works.clock)
    other.broker = works.broker

    await _schedules(works).put("extra", job, cron="* * * * *", tz="Asia/Tokyo")
    async with _running(_scheduler(other)):
        await anyio.sleep(MINUTE + 1)

    (id,) = await _ids(works)
    assert id.startswith("cron:extra:")


async def test_a_removed_schedule_is_gone(works: Works, start: int) -> None:
    _report(works)
    schedules = _schedules(works)
    await schedules.put("extra", works.registry.timetable["report"].job(), every=5)

    await schedules.remove("extra")

    assert [one.entry.name for one in await schedules.list()] == ["report"]
    with pytest.raises(ConfigurationError, match="There are: report"):
        await schedules.get("extra")


async def test_a_document_that_nobody_can_read_stops_nobody(works: Works, start: int) -> None:
    _report(works)
    await works.broker.put_document("cron:alien", b'{"v":99}', 0)

    async with _running(_scheduler(works)):
        await anyio.sleep(MINUTE + 1)

    assert len(await _ids(works)) == 1


async def test_a_broker_that_is_away_is_waited_for_from_the_first_call_on(
    works: Works, start: int
) -> None:
    _report(works)
    road = Faults()
    road.cut()

    async with _running(_scheduler(works, FaultyBroker(works.broker, road))):
        await anyio.sleep(30)
        road.mend()
        await anyio.sleep(MINUTE)
        road.cut()
        await anyio.sleep(MINUTE)
        road.mend()
        await anyio.sleep(10)

    assert await _ids(works) == _ticks(works, "report", start, start + 160_000)


async def test_a_lost_reply_of_an_insert_fires_nothing_twice(works: Works, start: int) -> None:
    _report(works)
    road = Faults()
    road.script("enqueue", Fault.LOSE_REPLY, Fault.LOSE_REQUEST)

    async with _running(_scheduler(works, FaultyBroker(works.broker, road))):
        await anyio.sleep(3 * MINUTE + 1)

    assert await _ids(works) == _ticks(works, "report", start, start + 180_000)


async def test_a_full_queue_is_tried_again_as_long_as_the_look_back(
    works: Works, start: int
) -> None:
    _report(works, look_back=30.0)
    await works.broker.set_queue_limit("default", 0)

    async with _running(_scheduler(works)):
        await anyio.sleep(MINUTE + 10)
        await works.broker.set_queue_limit("default", None)
        await anyio.sleep(2)

    assert len(await _ids(works)) == 1


@pytest.mark.promise(11)
@pytest.mark.parametrize("skew_ms", [86_400_000, -86_400_000, -30_000])
async def test_a_jump_of_the_clock_fires_nothing_twice_and_silences_nobody(
    works: Works, start: int, skew_ms: int
) -> None:
    _report(works)
    cursor = (await works.broker.events(None)).cursor

    async with _running(_scheduler(works), _scheduler(works)):
        await anyio.sleep(5 * MINUTE + 1)
        works.clock.skew_ms = skew_ms
        await anyio.sleep(3 * MINUTE)
        works.clock.skew_ms = 0
        await anyio.sleep(5 * MINUTE)

    events = (await works.broker.events(cursor)).entries
    fired = Counter(event.id for event in events if event.event == "enqueue")
    right = _ticks(works, "report", start, start + 300_000)
    right += _ticks(works, "report", start + 482_000, start + 780_000)
    assert set(fired.values()) == {1}
    assert set(right) <= set(fired)


@pytest.mark.promise(11)
async def test_a_scheduler_whose_own_clock_is_a_day_off_fires_at_the_right_time(
    works: Works,
    start: int,
) -> None:
    class Wrong:
        def time_ms(self) -> int:
            return works.clock.time_ms() + 86_400_000

        def monotonic(self) -> float:
            return works.clock.monotonic()

    _report(works)
    scheduler = Scheduler(
        works.broker,
        declared=works.registry.timetable,
        clock=BrokerClock(Wrong()),
        rng=Random(7),
    )

    async with _running(scheduler):
        await anyio.sleep(2 * MINUTE + 1)

    assert await _ids(works) == _ticks(works, "report", start, start + 120_000)


@pytest.mark.promise(11)
@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
async def test_five_schedulers_killed_at_random_for_a_week_fire_every_tick_once(
    works: Works, start: int, seed: int
) -> None:
    for name, expr in (
        ("often", "*/30 * * * *"),
        ("nightly", "30 2 * * *"),
        ("dawn", "0 5 * * 1-5"),
    ):
        works.registry.cron(expr, tz="Europe/Berlin", name=name, look_back=1_800)(_nothing(name))
    rng = Random(seed)
    road = Faults(Random(seed), Rates(lose_request=0.05, lose_reply=0.05, outage=0.01))
    kills = 0

    async def live() -> None:
        """Be killed again and again, at any instruction that waits, and be started anew."""
        nonlocal kills
        while True:
            with anyio.move_on_after(rng.expovariate(1 / (6 * 3_600))):
                await _scheduler(works, FaultyBroker(works.broker, road), read_ms=21_600_000).run()
            kills += 1
            await anyio.sleep(rng.uniform(1, 600))

    cursor = (await works.broker.events(None)).cursor
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(live)
        await anyio.sleep(7 * DAY + 60)
        tasks.cancel_scope.cancel()

    fired = Counter(event.id for event in await _events(works, cursor) if event.event == "enqueue")
    wanted = [
        id
        for name in works.registry.timetable
        for id in _ticks(works, name, start, start + 7 * 86_400_000)
    ]
    assert kills > 100
    assert len(wanted) == 7 * 48 + 7 + 5
    assert fired == Counter(wanted)


async def _events(works: Works, cursor: str) -> list[Any]:
    answer = await works.broker.events(cursor, limit=10_000)
    assert not answer.gap
    return list(answer.entries)


def _nothing(name: str) -> Callable[[], None]:
    def run() -> None: ...

    run.__name__ = name
    return run
