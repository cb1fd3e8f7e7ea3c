"""Handlers that leave things behind: the worker lives, and the next job starts clean where it can."""

from __future__ import annotations

import asyncio
import contextvars
import locale
import os
import signal
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

import anyio
import pytest

from tests.support.logs import told
from tests.support.places import Place
from treadle import Context
from treadle.broker.memory import MemoryBroker
from treadle.broker.url import parse
from treadle.domain.state import State
from treadle.runtime.client.lane import Lane
from treadle.runtime.clock import BrokerClock

pytestmark = [pytest.mark.anyio, pytest.mark.promise(10)]

TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")


@pytest.fixture
def as_it_was() -> Iterator[None]:
    """Put back what the handlers of a test change in this process."""
    folder, spoken = Path.cwd(), locale.setlocale(locale.LC_ALL)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, if we run in the background
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


async def test_threads_that_a_handler_starts_hold_nothing_up_and_are_reported(place: Place) -> None:
    stop = threading.Event()
    started: list[threading.Thread] = []

    @place.jobs.handler("threads")
    def threads() -> None:
        thread = threading.Thread(target=stop.wait, args=(120,))
        thread.start()
        started.append(thread)

    ids = [await place.store("threads") for _ in range(5)]

    with told("treadle.leftovers", "threads_left") as report:
        async with place.worker(concurrency=5):
            records = await place.until_final(*ids)
            fields = await report.wait()
    stop.set()
    for thread in started:
        await anyio.to_thread.run_sync(thread.join, 60)

    assert {record.head.state for record in records} == {State.SUCCEEDED}
    assert set(fields["threads"]) & {thread.name for thread in started}
    assert {f"default/{id}" for id in ids} & set(fields["jobs"])


async def test_a_handler_that_changes_the_process_does_not_hurt_the_worker(
    place: Place, as_it_was: None, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()

    @place.jobs.handler("vandal")
    async def vandal() -> None:
        os.chdir(gone)
        gone.rmdir()
        locale.setlocale(locale.LC_ALL, "C")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.umask(os.umask(0o077))

    @place.jobs.handler("good")
    async def good(number: int) -> float:
        return number / 2

    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    bad = await vandal.enqueue()
    with (
        told("treadle.leftovers", "process_changed") as changed,
        told("treadle.leftovers", "signal_handler_changed") as deaf,
    ):
        async with place.worker(concurrency=1):
            (record,) = await place.until_final(bad.id)
            fields = await changed.wait()
            await deaf.wait()
            after = await good.enqueue(5)
            result = await after.result(timeout=300)

    assert record.head.state is State.SUCCEEDED
    assert result == 2.5
    assert fields["folder"] == "<No such file or directory>"
    assert fields["locale"] == "C"
    assert fields["jobs"] == [f"default/{bad.id}"]
    assert [vars(each)["signal"] for each in deaf.records] == ["SIGTERM", "SIGINT"]
    assert not any(vars(each)["restored"] for each in deaf.records), "they were not the worker's"
    assert len(changed.records) == 1, "a change is reported once"


class Leaky:
    """Handlers that make tasks and do not wait for them; `made` holds the tasks by job id."""

    def __init__(self, place: Place) -> None:
        self.made: dict[str, asyncio.Task[None]] = {}
        self.release = anyio.Event()
        self.started = anyio.Event()

        @place.jobs.handler("leak")
        async def leak(ctx: Context, free: bool = False) -> str:
            self._make(ctx, contextvars.Context() if free else None)
            return "done"

        @place.jobs.handler("long")
        async def long(ctx: Context) -> str:
            self._make(ctx, None)
            self.started.set()
            await self.release.wait()
            return "done"

        @place.jobs.handler("sync")
        def sync(ctx: Context) -> str:
            async def make() -> None:
                self._make(ctx, None)

            ctx.run_async(make)
            return "done"

    def _make(self, ctx: Context, context: contextvars.Context | None) -> None:
        loop = asyncio.get_running_loop()
        name = f"of {ctx.job_id}"
        self.made[ctx.job_id] = loop.create_task(_for_ever(), name=name, context=context)

    async def until_ended(self, id: str) -> None:
        """Wait until the task of a job has come to an end."""
        await asyncio.wait([self.made[id]], timeout=300)
        assert self.made[id].cancelled()


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("kind", ["leak", "sync"])
async def test_tasks_that_a_handler_leaks_are_reported_and_cancelled(
    place: Place, kind: str
) -> None:
    leaky = Leaky(place)
    first = await place.store(kind)

    with told("treadle.leftovers", "tasks_left") as report:
        async with place.worker(concurrency=2) as worker:
            await place.until_final(first)
            await leaky.until_ended(first)
            ids = [await place.store(kind) for _ in range(5)]
            records = await place.until_final(*ids)
            for id in ids:
                await leaky.until_ended(id)

    assert {record.head.state for record in records} == {State.SUCCEEDED}
    assert worker.report.leaked == 6
    reports = [vars(each) for each in report.records]
    assert [(each["job_id"], each["guessed"]) for each in reports[:1]] == [(first, True)]
    told_of = {each["job_id"]: (each["tasks"], each["guessed"]) for each in reports[1:]}
    assert told_of == {id: ([f"of {id}"], False) for id in ids}


async def test_what_a_leaked_task_raises_hurts_neither_its_job_nor_the_worker(place: Place) -> None:
    kept: list[asyncio.Task[None]] = []

    async def leaked() -> None:
        raise ValueError("nobody waits for this")

    @place.jobs.handler("leak")
    async def leak() -> str:
        kept.append(asyncio.get_running_loop().create_task(leaked()))
        return "done"

    job = await leak.enqueue()
    async with place.worker(concurrency=1):
        assert await job.result(timeout=300) == "done"
        await asyncio.wait(kept)
        again = await leak.enqueue()
        assert await again.result(timeout=300) == "done"

    assert isinstance(kept[0].exception(), ValueError)


async def test_a_leaked_task_is_cancelled_once_and_may_take_its_time(place: Place) -> None:
    leaky, release = Leaky(place), anyio.Event()
    cancels: list[str] = []
    slow: list[asyncio.Task[None]] = []

    async def cleaning() -> None:
        try:
            await _for_ever()
        except asyncio.CancelledError:
            cancels.append("first")
            try:
                await release.wait()
            except asyncio.CancelledError:
                cancels.append("second")

    @place.jobs.handler("slow")
    async def leak_slow() -> None:
        slow.append(asyncio.get_running_loop().create_task(cleaning()))

    with told("treadle.leftovers", "tasks_left") as report:
        async with place.worker(concurrency=1):
            await place.until_final(await place.store("slow"))
            await report.wait()
            left = await place.store("leak")
            await place.until_final(left)
            await leaky.until_ended(left)
            release.set()
            await asyncio.wait(slow)

    assert cancels == ["first"]
    assert len(report.records) == 2


async def test_a_task_with_a_context_of_its_own_outlives_its_attempt(place: Place) -> None:
    leaky = Leaky(place)
    free = await place.store("leak", b'{"free": true}')
    left = await place.store("leak")

    async with place.worker(concurrency=1):
        await place.until_final(free, left)
        await leaky.until_ended(left)
        kept = leaky.made[free]
        assert not kept.done()
        kept.cancel()


async def test_what_a_client_needs_outlives_the_attempt_that_connected_it(place: Place) -> None:
    class Reading(MemoryBroker):
        """A broker that reads in a task of its own, as one on a network does."""

        reader: asyncio.Task[None] | None = None

        async def connect(self) -> None:
            await super().connect()
            self.reader = asyncio.get_running_loop().create_task(_for_ever())

    broker = Reading(parse("memory://"), place.clock)
    lane = Lane(
        broker,
        clock=place.clock,
        broker_clock=BrokerClock(place.clock),
        timeout_s=60,
        durability=None,
    )
    leaky = Leaky(place)

    @place.jobs.handler("connect")
    async def connect() -> None:
        await lane.broker()

    connecting, left = await place.store("connect"), await place.store("leak")

    async with place.worker(concurrency=1):
        await place.until_final(connecting, left)
        await leaky.until_ended(left)
        assert broker.reader is not None
        assert not broker.reader.done()
    await lane.close()
    broker.reader.cancel()


async def test_tasks_of_an_attempt_that_still_runs_are_left_alone(place: Place) -> None:
    leaky = Leaky(place)
    long = await place.store("long")

    async with place.worker(concurrency=2):
        await leaky.started.wait()
        for _ in range(2):
            left = await place.store("leak")
            await place.until_final(left)
            await leaky.until_ended(left)
        assert not leaky.made[long].done()
        leaky.release.set()
        await leaky.until_ended(long)


async def test_a_task_is_cancelled_although_its_slot_runs_the_next_job(place: Place) -> None:
    leaky = Leaky(place)
    first = await place.store("leak")

    async with place.worker(concurrency=1):
        await place.until_final(first)
        await leaky.until_ended(first)
        left, long = await place.store("leak"), await place.store("long")
        await leaky.started.wait()
        await leaky.until_ended(left)
        assert not leaky.made[long].done()
        leaky.release.set()
        await place.until_final(long)


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
