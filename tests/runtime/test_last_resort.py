"""A drain that finds the loop blocked to the end: the heartbeat thread settles and hands back."""

from __future__ import annotations

import random
from typing import Any

import anyio
import pytest

from tests.support.works import Works
from treadle.broker.base import Lease
from treadle.domain.job import Record
from treadle.domain.limits import Budget
from treadle.domain.outcome import Succeeded
from treadle.domain.state import State
from treadle.runtime.attempt import Attempt
from treadle.runtime.clock import BrokerClock
from treadle.runtime.crew import Crew
from treadle.runtime.drain import DrainOrder
from treadle.runtime.last_resort import LastResort
from treadle.runtime.leases import Leases
from treadle.runtime.report import WorkerReport
from treadle.runtime.settle import Settler
from treadle.runtime.stopping import StopSignals

pytestmark = [pytest.mark.anyio, pytest.mark.promise(8)]


class Blocked:
    """A worker whose loop is blocked: what it holds stands still, each job at another place."""

    def __init__(self, works: Works, session: str, grace_ms: int) -> None:
        parts: dict[str, Any] = dict.fromkeys(("chain", "tools", "admit", "done"))
        rng = random.Random(1)
        self.crew = Crew(size=2, handlers={}, clock=works.clock, **parts)
        self.leases = Leases()
        self.settler = Settler(
            rng=rng,
            budget=Budget(works.broker.max_record),
            report=WorkerReport(),
            forget=self.leases.forget,
        )
        self.order = DrainOrder(grace_ms)
        self.last_resort = LastResort(
            works.broker,
            session=session,
            crews=[self.crew],
            settler=self.settler,
            leases=self.leases,
            order=self.order,
            clock=works.clock,
            broker_clock=BrokerClock(works.clock),
            rng=rng,
            report=WorkerReport(),
            ends_with=None,
        )

    def runs(self, slot: int, record: Record) -> None:
        """Let a slot run a record."""
        parts: dict[str, Any] = dict.fromkeys(("handler", "tools"))
        lease = Lease(record.job.queue, record.job.id, record.head.fence)
        self.crew.slots[slot].record = record
        self.crew.slots[slot].attempt = Attempt(job=record.job, number=1, lease=lease, **parts)


async def _claimed(works: Works, count: int) -> tuple[str, list[Record]]:
    for _ in range(count):
        await works.enqueue("work")
    session = (await works.broker.open("blocked", 3_600_000, b"{}")).session
    claimed = await works.broker.claim(session, ["default"], count)
    return session, list(claimed.records)


async def test_everything_that_a_blocked_worker_holds_is_settled_or_handed_back(
    works: Works,
) -> None:
    session, records = await _claimed(works, 6)
    running, given_up, unstarted, ended, under_way, unheard = records
    blocked = Blocked(works, session, grace_ms=1_000)
    blocked.leases.end_claim(blocked.leases.begin_claim(), records[:5])
    blocked.runs(0, running)
    blocked.runs(1, given_up)
    blocked.crew.slots[1].stuck = True
    blocked.settler.add(given_up, Succeeded(result=b"1"))
    blocked.settler.add(under_way, Succeeded(result=b"2"))
    blocked.settler.begin(2, works.clock.time_ms())
    blocked.settler.add(ended, Succeeded(result=b"3"))
    blocked.crew.offer([unstarted])

    blocked.order.announce(works.clock.monotonic(), None)
    await blocked.last_resort.watch(lambda: 60.0)

    states = {record.job.id: await works.state(record.job.id) for record in records}
    waiting = {each.job.id for each in (running, unstarted, unheard)}
    assert {id for id, state in states.items() if state is State.WAITING} == waiting
    done = {each.job.id for each in (given_up, under_way, ended)}
    assert {id for id, state in states.items() if state is State.SUCCEEDED} == done
    assert [(await works.get(id)).head.attempt for id in sorted(waiting)] == [0] * 3
    assert [(await works.get(id)).head.deaths for id in sorted(waiting)] == [0] * 3
    assert list(await works.broker.sessions()) == []


@pytest.mark.parametrize(
    ("blocked_s", "grace_ms", "announced"),
    [(0.5, 0, True), (60.0, 3_600_000, True), (60.0, 0, False)],
    ids=["the-loop-turns", "the-grace-period-lasts", "nobody-asked"],
)
async def test_nothing_is_handed_back_while_there_is_hope(
    works: Works, blocked_s: float, grace_ms: int, announced: bool
) -> None:
    session, (record,) = await _claimed(works, 1)
    blocked = Blocked(works, session, grace_ms)
    blocked.leases.end_claim(blocked.leases.begin_claim(), [record])
    blocked.runs(0, record)

    if announced:
        blocked.order.announce(works.clock.monotonic(), None)
    with anyio.move_on_after(600):
        await blocked.last_resort.watch(lambda: blocked_s)

    assert await works.state(record.job.id) is State.RUNNING


async def test_a_worker_that_closed_meanwhile_needs_no_last_resort(works: Works) -> None:
    session, (record,) = await _claimed(works, 1)
    blocked = Blocked(works, session, 0)
    blocked.order.announce(works.clock.monotonic(), None)
    blocked.order.closed.set()

    with anyio.fail_after(10):
        await blocked.last_resort.watch(lambda: 60.0)

    assert await works.state(record.job.id) is State.RUNNING


def test_the_shortest_grace_period_counts_whoever_was_interrupted() -> None:
    order = DrainOrder(60_000)

    order.announce(100.0, 0)
    order.announce(99.0, None)

    assert order.ends == 100.0


async def test_a_signal_in_the_middle_of_the_first_ones_handler_is_the_second() -> None:
    heard: list[int | None] = []

    def drain(grace_ms: int | None) -> None:
        heard.append(grace_ms)
        if len(heard) == 1:
            signals.heard(2, None)

    signals = StopSignals(drain)
    signals.heard(15, None)

    assert heard == [None, 0]
