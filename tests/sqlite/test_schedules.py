"""Schedules on a real file: what the tests of schedulers show in memory holds between connections, too."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import anyio
import pytest

from treadle.broker.base import Broker
from treadle.broker.sqlite import SqliteBroker
from treadle.broker.url import parse
from treadle.conformance.clock import DAY, HOUR, MINUTE, MovableClock
from treadle.conformance.hand import Hand
from treadle.domain.cron import fires
from treadle.domain.timetable import tick_id
from treadle.errors import ConfigurationError
from treadle.runtime.clock import BrokerClock
from treadle.runtime.declared import CatchUpName
from treadle.runtime.registry import Registry
from treadle.runtime.scheduler import Scheduler
from treadle.runtime.schedules import Schedules

pytestmark = pytest.mark.anyio


@pytest.fixture
def registry() -> Registry:
    """Return an application's code: a report each minute."""
    registry = Registry()

    @registry.every(60, look_back=3_600)
    async def report() -> None: ...

    return registry


@pytest.fixture(autouse=True)
def _begin_at_a_full_hour(clock: MovableClock) -> None:
    clock.advance(HOUR - clock.time_ms() % HOUR)


def _scheduler(broker: Broker, registry: Registry, clock: MovableClock) -> Scheduler:
    return Scheduler(broker, declared=registry.timetable, clock=BrokerClock(clock), rng=Random(7))


def _schedules(broker: Broker, registry: Registry | None = None) -> Schedules:
    async def connected() -> Broker:
        return broker

    return Schedules(connected, None if registry is None else lambda: registry.timetable)


@asynccontextmanager
async def _connections(
    file: Path, clock: MovableClock, count: int
) -> AsyncGenerator[list[SqliteBroker]]:
    async with AsyncExitStack() as stack:
        url = parse(f"sqlite:///{file}")
        yield [await stack.enter_async_context(SqliteBroker(url, clock)) for _ in range(count)]


async def _enqueued(broker: Broker, cursor: str) -> Counter[str]:
    """Count how often each job was stored."""
    answer = await broker.events(cursor, limit=10_000)
    assert not answer.gap
    return Counter(entry.id for entry in answer.entries if entry.event == "enqueue")


def _ticks(registry: Registry, name: str, start: int, end: int) -> list[str]:
    found: list[str] = []
    for tick in fires(registry.timetable[name].schedule, start):
        if tick > end:
            return found
        found.append(tick_id(name, tick))
    return found


@pytest.mark.contract("F26")
async def test_each_tick_is_stored_when_it_is_due_and_not_before(
    broker: SqliteBroker, hand: Hand, registry: Registry, clock: MovableClock
) -> None:
    scheduler = _scheduler(broker, registry, clock)
    start = clock.time_ms()
    await scheduler.fire()

    clock.advance(MINUTE - 1)
    seconds = await scheduler.fire()
    before = await hand.claim()
    clock.advance(1)
    await scheduler.fire()
    after = await hand.claim()

    assert seconds == 0.001
    assert list(before) == []
    assert [record.job.id for record in after] == [tick_id("report", start + MINUTE)]


@pytest.mark.promise(11)
async def test_schedulers_of_many_connections_fire_each_tick_once(
    file: Path, broker: SqliteBroker, registry: Registry, clock: MovableClock
) -> None:
    start, rng = clock.time_ms(), Random(11)
    cursor = (await broker.events(None)).cursor
    async with _connections(file, clock, 5) as connections:
        schedulers = [_scheduler(each, registry, clock) for each in connections]
        for _ in range(20):
            # Some are late, some are new: what they know of each other is in the file alone.
            schedulers[rng.randrange(5)] = _scheduler(rng.choice(connections), registry, clock)
            async with anyio.create_task_group() as tasks:
                for scheduler in rng.sample(schedulers, rng.randint(1, 5)):
                    tasks.start_soon(scheduler.fire)
            clock.advance(rng.randrange(10 * MINUTE))
        await schedulers[0].fire()

    written = await _enqueued(broker, cursor)
    assert set(written.values()) == {1}
    assert sorted(written) == _ticks(registry, "report", start, clock.time_ms())


@pytest.mark.parametrize(("catch_up", "fired"), [("all", 60), ("once", 1), ("skip", 0)])
async def test_what_a_new_process_catches_up_is_bounded(
    file: Path, clock: MovableClock, catch_up: CatchUpName, fired: int
) -> None:
    registry = Registry()

    @registry.every(60, look_back=3_600, catch_up=catch_up)
    async def report() -> None: ...

    async with _connections(file, clock, 1) as (first,):
        await _scheduler(first, registry, clock).fire()
    clock.advance(30 * DAY + MINUTE // 2)

    async with _connections(file, clock, 1) as (second,):
        cursor = (await second.events(None)).cursor
        await _scheduler(second, registry, clock).fire()

        assert len(await _enqueued(second, cursor)) == fired


async def test_a_pause_of_one_process_holds_in_another_and_after_a_restart(
    file: Path, broker: SqliteBroker, registry: Registry, clock: MovableClock
) -> None:
    cursor = (await broker.events(None)).cursor
    async with _connections(file, clock, 2) as (one, other):
        scheduler = _scheduler(one, registry, clock)
        await scheduler.fire()
        await _schedules(other).pause("report", by="ada")
        clock.advance(10 * MINUTE)
        await scheduler.fire()
    async with _connections(file, clock, 1) as (again,):
        await _scheduler(again, registry, clock).fire()
        (listed,) = await _schedules(again, registry).list()

    assert await _enqueued(broker, cursor) == {}
    assert (listed.entry.by, listed.orphan) == ("ada", False)


async def test_an_edit_is_seen_before_the_next_tick(
    file: Path, broker: SqliteBroker, registry: Registry, clock: MovableClock
) -> None:
    scheduler = _scheduler(broker, registry, clock)
    await scheduler.fire()
    async with _connections(file, clock, 1) as (other,):
        job = registry.timetable["report"].job()
        await _schedules(other).put("report", job, every=5)

    clock.advance(1_000)
    seconds = await scheduler.fire()

    assert seconds == 4.0


async def test_one_schedule_too_many_is_refused_and_the_others_go_on(
    broker: SqliteBroker, registry: Registry, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treadle.domain.timetable.MOST", 3)
    schedules, job = _schedules(broker), registry.timetable["report"].job()
    for name in ("a", "b", "c"):
        await schedules.put(name, job, every=60)

    with pytest.raises(ConfigurationError, match="there are 3 schedules already"):
        await schedules.put("d", job, every=60)
    edited = await schedules.put("c", job, every=30)
    await schedules.remove("a")
    await schedules.put("d", job, every=60)

    assert [listed.entry.name for listed in await schedules.list()] == ["b", "c", "d"]
    assert edited in [listed.entry for listed in await schedules.list()]
