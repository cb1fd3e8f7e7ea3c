"""Moments at which a worker could go wrong: suspects, bursts, blocked loops, long outages."""

# pyright: reportPrivateUsage=false
# Some moments can only be made by reaching inside.

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any

import anyio
import pytest

from tests.support.deaths import suspect
from tests.support.works import Works, until_set
from treadle.broker.base import Lease
from treadle.conformance.faults import Fault, Faults, FaultyBroker
from treadle.domain.job import Policy, Ref
from treadle.domain.state import State
from treadle.errors import SessionEnded
from treadle.runtime.attempt import Attempt
from treadle.runtime.beat import Beat
from treadle.runtime.clock import BrokerClock, SystemClock
from treadle.runtime.context import Context
from treadle.runtime.crew import Crew
from treadle.runtime.ending import ForcedEnd
from treadle.runtime.leases import Leases
from treadle.runtime.main import _run
from treadle.runtime.options import WorkerOptions
from treadle.runtime.supervisor import Supervisor

pytestmark = pytest.mark.anyio


@pytest.mark.promise(7)
async def test_a_worker_goes_on_after_a_suspect_was_stopped_before_it_began(works: Works) -> None:
    @works.registry.handler("work")
    async def work(seconds: float) -> None:
        await anyio.sleep(seconds)

    limit = Policy(max_attempts=1, timeout_ms=2_000)
    await suspect(works, "work", b'{"seconds": 0}', policy=limit)
    await works.enqueue("work", b'{"seconds": 60}')

    async with works.worker(concurrency=2):
        await anyio.sleep(120)
        later = await works.enqueue("work", b'{"seconds": 0}')
        await anyio.sleep(60)
        assert await works.state(later) is State.SUCCEEDED


@pytest.mark.promise(7)
async def test_a_suspects_time_limit_begins_when_it_runs_and_not_while_it_waits(
    works: Works,
) -> None:
    @works.registry.handler("work")
    async def work(seconds: float) -> None:
        await anyio.sleep(seconds)

    limit = Policy(max_attempts=1, timeout_ms=2_000)
    id = await suspect(works, "work", b'{"seconds": 0}', policy=limit)
    await works.enqueue("work", b'{"seconds": 60}')

    async with works.worker(concurrency=2):
        (record,) = await works.until_final(id)

    assert record.head.state is State.SUCCEEDED


async def test_a_fresh_worker_claims_no_long_job_that_it_cannot_start(works: Works) -> None:
    @works.registry.handler("hour")
    async def hour() -> None:
        await anyio.sleep(3_600)

    ids = [await works.enqueue("hour") for _ in range(2)]
    began = works.clock.time_ms()

    async with works.worker(name="one", concurrency=1), works.worker(name="two", concurrency=1):
        records = await works.until_final(*ids)

    assert max(record.head.finished for record in records) - began < 2 * 3_600_000


async def test_a_burst_does_not_claim_without_end_while_a_job_runs(
    works: Works, road: Faults
) -> None:
    @works.registry.handler("work")
    async def work() -> None:
        await anyio.sleep(5)

    await works.enqueue("work")
    road.most["claim"] = 1_000

    await works.burst(concurrency=2)


async def test_a_burst_waits_for_a_suspect_that_runs_alone(works: Works, road: Faults) -> None:
    @works.registry.handler("work")
    async def work() -> None:
        await anyio.sleep(60)

    id = await suspect(works, "work")
    road.most["claim"] = 1_000

    await works.burst(concurrency=1)

    assert await works.state(id) is State.SUCCEEDED


async def test_a_burst_runs_jobs_that_a_running_job_waits_for(works: Works) -> None:
    @works.registry.handler("child")
    async def child() -> None: ...

    @works.registry.handler("parent")
    async def parent() -> None:
        await anyio.sleep(5)  # the queue was found empty long ago
        (record,) = await works.until_final(await works.enqueue("child"))
        assert record.head.state is State.SUCCEEDED

    id = await works.enqueue("parent")

    with anyio.fail_after(60):
        await works.burst(concurrency=2)

    assert await works.state(id) is State.SUCCEEDED


async def test_a_burst_runs_jobs_whose_parents_it_ran(works: Works, road: Faults) -> None:
    @works.registry.handler("work")
    async def work() -> None: ...

    road.most["claim"] = 1_000
    first = await works.enqueue("work")
    second = await works.enqueue("work", after=(Ref("default", first),))

    await works.burst(concurrency=1)

    assert await works.state(second) is State.SUCCEEDED


async def beat_over(works: Works, crew: Crew, leases: Leases, session: str) -> Beat:
    """Make the heartbeat of a worker whose loop was seen alive for the last time now."""
    return Beat(
        works.broker,
        session=session,
        leases=leases,
        crews=[crew],
        options=WorkerOptions(),
        clock=works.clock,
        broker_clock=BrokerClock(works.clock),
        rng=random.Random(1),
        heard=lambda _: None,
        ended=lambda _: None,
    )


def idle_crew(works: Works) -> Crew:
    """Make a crew of one whose consumer does not run: its loop is blocked."""
    parts: dict[str, Any] = dict.fromkeys(("chain", "tools", "admit", "done"))
    return Crew(size=1, handlers={}, clock=works.clock, **parts)


@pytest.mark.promise(6)
async def test_unstarted_jobs_of_a_blocked_loop_are_handed_back_after_a_lost_call(
    works: Works, road: Faults
) -> None:
    ids = [await works.enqueue("work") for _ in range(2)]
    session = (await works.broker.open("blocked", 3_600_000, b"{}")).session
    claimed = await works.broker.claim(session, ["default"], 2)
    leases, crew = Leases(), idle_crew(works)
    leases.end_claim(leases.begin_claim(), claimed.records)
    crew.offer(claimed.records)
    beat = await beat_over(works, crew, leases, session)

    await anyio.sleep(40)
    road.script("apply", Fault.LOSE_REQUEST)
    await beat._look_at_loop()
    await beat._look_at_loop()

    assert [await works.state(id) for id in ids] == [State.WAITING] * 2


@pytest.mark.promise(6)
async def test_an_overrun_of_a_blocked_loop_is_settled_after_a_lost_call(
    works: Works, road: Faults
) -> None:
    id = await works.enqueue("work", policy=Policy(max_attempts=1, timeout_ms=1_000))
    session = (await works.broker.open("blocked", 3_600_000, b"{}")).session
    (record,) = (await works.broker.claim(session, ["default"], 1)).records
    leases, crew = Leases(), idle_crew(works)
    lease = Lease(record.job.queue, record.job.id, record.head.fence)
    parts: dict[str, Any] = dict.fromkeys(("handler", "tools"))
    crew.slots[0].record = record
    crew.slots[0].attempt = Attempt(job=record.job, number=1, lease=lease, **parts)
    crew.slots[0].deadline = works.clock.monotonic() + 1
    beat = await beat_over(works, crew, leases, session)

    await anyio.sleep(10)
    road.script("apply", Fault.LOSE_REQUEST)
    await beat._look_at_loop()
    await beat._look_at_loop()

    assert await works.state(id) is State.DEAD


@pytest.mark.promise(6)
async def test_what_waits_behind_an_overrun_of_a_blocked_loop_goes_to_others_at_once(
    works: Works,
) -> None:
    policy = Policy(max_attempts=1, timeout_ms=1_000)
    ids = [await works.enqueue("work", policy=policy) for _ in range(2)]
    session = (await works.broker.open("blocked", 3_600_000, b"{}")).session
    runs, waits = (await works.broker.claim(session, ["default"], 2)).records
    leases, crew = Leases(), idle_crew(works)
    lease = Lease(runs.job.queue, runs.job.id, runs.head.fence)
    parts: dict[str, Any] = dict.fromkeys(("handler", "tools"))
    crew.slots[0].record = runs
    crew.slots[0].attempt = Attempt(job=runs.job, number=1, lease=lease, **parts)
    crew.slots[0].deadline = works.clock.monotonic() + 1
    crew.offer([waits])
    beat = await beat_over(works, crew, leases, session)

    await anyio.sleep(10)
    await beat._look_at_loop()

    assert [await works.state(id) for id in ids] == [State.DEAD, State.WAITING]


@pytest.mark.promise(6)
async def test_a_slow_call_to_the_broker_is_not_taken_for_a_blocked_loop(
    works: Works, road: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    @works.registry.handler("work")
    async def work(ctx: Context) -> None:
        ctx.log("hello")
        await anyio.sleep(60)

    id = await works.enqueue("work")
    road.request_delays["note"] = 20

    async with works.worker():
        await works.until_final(id)

    assert "loop_blocked" not in [record.message for record in caplog.records]


@pytest.mark.promise(9)
async def test_an_idle_worker_outlives_an_outage_of_two_hours(works: Works, road: Faults) -> None:
    @works.registry.handler("work")
    async def work() -> None: ...

    far = works.broker
    assert isinstance(far, FaultyBroker)
    near = far.inner.another()

    async with works.worker(name="cut off"):
        works.broker = near
        async with works.worker(name="near", selection=works.nothing):
            road.cut("claim", "turn", "apply", "heartbeat", "note")
            await anyio.sleep(2 * 3_600)
            road.mend()
            id = await works.enqueue("work")
            await anyio.sleep(10)
            assert await works.state(id) is State.SUCCEEDED


class Always(random.Random):
    """Chance that always falls the same way."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def random(self) -> float:
        return self.value


@pytest.mark.promise(9)
async def test_a_living_worker_renews_in_time_after_an_outage_whatever_the_jitter(
    works: Works, road: Faults
) -> None:
    @works.registry.handler("long")
    async def long() -> None:
        await anyio.sleep(200)

    deaths: list[int] = []
    for n in range(12):
        id = await works.enqueue("long")
        owner = works.make_worker(name=f"owner {n}")
        other = works.make_worker(name=f"other {n}", selection=works.nothing)
        owner._rng, other._rng = Always(0.999), Always(0.0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(owner.run)
            tasks.start_soon(other.run)
            await works.until_running(id)
            await anyio.sleep(5)
            road.cut("claim", "turn", "apply", "heartbeat", "note")
            await anyio.sleep(24 + n * 0.25)
            road.mend()
            await anyio.sleep(20)
            deaths.append((await works.get(id)).head.deaths)
            owner.drain(0)
            other.drain(0)

    assert deaths == [0] * 12


@pytest.mark.promise(10)
async def test_a_thread_that_was_given_up_counts_as_stuck(works: Works) -> None:
    started, release = threading.Event(), threading.Event()

    @works.registry.handler("stubborn")
    def stubborn() -> None:
        started.set()
        release.wait()

    id = await works.enqueue("stubborn", policy=Policy(max_attempts=1, timeout_ms=60_000))

    try:
        async with works.worker() as worker:
            await until_set(started)
            await works.until_final(id)
            await anyio.sleep(30)
            assert worker.report.stuck == 1
    finally:
        release.set()


@pytest.mark.promise(10)
async def test_a_handler_that_cancels_its_own_task_stops_no_worker(
    works: Works, anyio_backend: Any
) -> None:
    if anyio_backend[0] == "trio":
        pytest.skip("only asyncio has tasks that can be cancelled from inside")

    @works.registry.handler("odd")
    async def odd() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    @works.registry.handler("good")
    async def good() -> None: ...

    await works.enqueue("odd")

    async with works.worker(concurrency=1):
        await anyio.sleep(3)
        id = await works.enqueue("good")
        await anyio.sleep(10)
        assert await works.state(id) is State.SUCCEEDED


@pytest.mark.promise(10)
async def test_a_consumer_that_is_cancelled_while_it_is_idle_leaves_no_wake_up_behind(
    works: Works, anyio_backend: Any
) -> None:
    if anyio_backend[0] == "trio":
        pytest.skip("only asyncio has tasks that can be cancelled from inside")

    @works.registry.handler("mine")
    async def mine() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_later(1, task.cancel)

    @works.registry.handler("good")
    async def good() -> None: ...

    async with works.worker(concurrency=1):
        await works.enqueue("mine")
        await anyio.sleep(5)
        await works.broker.pause("default", True)
        ids = [await works.enqueue("good") for _ in range(2)]
        await works.broker.pause("default", False)
        await works.until_final(*ids)
        late = await works.enqueue("good")
        await anyio.sleep(60)
        assert await works.state(late) is State.SUCCEEDED


async def test_workers_on_one_loop_leave_each_others_tasks_alone(works: Works) -> None:
    @works.registry.handler("work")
    async def work() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 10)

    async with works.worker(name="w1", concurrency=2) as one, works.worker(name="w2") as two:
        ids = [await works.enqueue("work") for _ in range(8)]
        records = await works.until_final(*ids)
        assert (one.report.leaked, two.report.leaked) == (0, 0)

    assert {record.head.attempt for record in records} == {1}


async def test_the_main_function_raises_what_the_worker_raises(works: Works) -> None:
    worker = works.make_worker()

    async def usurp() -> None:
        await worker.started.wait()
        await works.broker.open("w1", 15_000, b"{}")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(usurp)
        with pytest.raises(SessionEnded):
            await _run(lambda: worker, ForcedEnd())


@pytest.mark.promise(8)
def test_a_signal_needs_no_lock_that_the_interrupted_supervisor_may_hold() -> None:
    supervisor = Supervisor(lambda name: [name], (), clock=SystemClock(), rng=random.Random(1))
    handler = threading.Thread(target=supervisor._on_signal, args=(15, None), daemon=True)

    with vars(supervisor._wake)["_cond"]:  # as in the middle of `wait` or `clear`
        handler.start()
        handler.join(1)
        waits = handler.is_alive()

    assert not waits


@pytest.mark.promise(8)
async def test_a_broker_that_hangs_keeps_no_drained_worker_alive(
    works: Works, road: Faults
) -> None:
    @works.registry.handler("work")
    async def work() -> None:
        await anyio.sleep(600)

    id = await works.enqueue("work")

    async with works.worker(grace_ms=1_000) as worker:
        await works.until_running(id)
        await anyio.sleep(0.5)
        for call in ("claim", "turn", "apply", "heartbeat", "note"):
            road.request_delays[call] = 600
        worker.drain()
        began = works.clock.monotonic()

    assert works.clock.monotonic() - began <= 1 + 2.1
