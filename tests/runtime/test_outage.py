"""A broker that goes away, loses requests or replies: the worker goes on, nothing is lost or doubled."""

from __future__ import annotations

import anyio
import pytest

from tests.support.works import Works
from treadle.conformance.faults import Fault, Faults, FaultyBroker
from treadle.domain.job import Job
from treadle.domain.state import State
from treadle.runtime.metrics import Meter
from treadle.runtime.report import Ending

pytestmark = pytest.mark.anyio


CALLS = ("claim", "turn", "apply", "heartbeat", "overdue")
"""What a worker asks for; the test itself asks for the rest."""


@pytest.fixture
def line(works: Works) -> Faults:
    """The line between the worker and its broker."""
    line = Faults()
    works.broker = FaultyBroker(works.broker, line)
    return line


@pytest.mark.promise(9)
async def test_a_worker_outlives_an_outage_and_settles_what_ended_meanwhile(
    works: Works, line: Faults
) -> None:
    @works.registry.handler("work")
    async def work() -> str:
        await anyio.sleep(20)
        return "done"

    id = await works.enqueue("work")

    async with works.worker() as worker:
        await works.until_running(id)
        line.cut(*CALLS)
        await anyio.sleep(60)  # virtual: four leases long
        line.mend()
        back = works.clock.time_ms()
        (record,) = await works.until_final(id)

    assert record.head.state is State.SUCCEEDED
    assert record.head.finished - back <= 3_000
    assert [row.event for row in record.history] == ["succeed"]
    assert worker.report.lease_lost == 0
    assert worker.report.reconnects == 1


@pytest.mark.promise(9)
async def test_claims_resume_within_three_seconds_after_an_outage(
    works: Works, line: Faults
) -> None:
    @works.registry.handler("work")
    async def work() -> None: ...

    async with works.worker():
        line.cut(*CALLS)
        await anyio.sleep(120)  # virtual
        job = Job(id="late", type="work")
        await works.broker.enqueue([job])
        line.mend()
        back = works.clock.time_ms()
        (record,) = await works.until_final("late")

    assert record.head.claimed - back <= 3_000


@pytest.mark.promise(4)
async def test_a_settle_whose_reply_was_lost_is_recognised_as_its_own(
    works: Works, line: Faults
) -> None:
    runs: list[str] = []

    @works.registry.handler("work")
    async def work(name: str) -> None:
        runs.append(name)

    ids = [await works.enqueue("work", b'{"name": "%d"}' % n) for n in range(20)]
    for call in ("turn", "apply"):
        line.script(call, *[Fault.LOSE_REPLY] * 2)

    meter = Meter(works.registry.handlers, ["default"])

    async with works.worker(concurrency=4, meter=meter) as worker:
        records = await works.until_final(*ids)

    assert meter.series()["default", "work"].outcomes[Ending.SUCCEEDED] == 20
    assert {record.head.state for record in records} == {State.SUCCEEDED}
    assert sorted(runs) == sorted(str(n) for n in range(20))
    assert worker.report.lease_lost == 0


@pytest.mark.promise(1, 4)
async def test_a_claim_whose_reply_was_lost_is_handed_back_and_run_once(
    works: Works, line: Faults
) -> None:
    runs: list[int] = []

    @works.registry.handler("work")
    async def work() -> None:
        runs.append(1)

    line.script("claim", Fault.LOSE_REPLY)
    id = await works.enqueue("work")

    async with works.worker() as worker:
        (record,) = await works.until_final(id)

    assert (len(runs), worker.report.orphans) == (1, 1)
    assert (record.head.attempt, record.head.deaths) == (1, 0)
    assert record.head.claimed - record.created <= 13_000


@pytest.mark.promise(9)
async def test_jobs_of_a_living_worker_are_not_declared_lost_after_an_outage(
    works: Works, line: Faults
) -> None:
    starts: list[str] = []

    @works.registry.handler("long")
    async def long() -> None:
        starts.append("start")
        await anyio.sleep(200)

    id = await works.enqueue("long")

    async with works.worker(name="owner"):
        await works.until_running(id)
        async with works.worker(name="sweeper"):
            line.cut(*CALLS)
            await anyio.sleep(100)  # virtual
            line.mend()
            (record,) = await works.until_final(id)

    assert starts == ["start"]
    assert (record.head.state, record.head.deaths) == (State.SUCCEEDED, 0)
