"""Contract rows about order and time: priorities, queues in the order given, delays."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.adapters import Adapter
from tests.support.places import Place
from tests.support.works import Works
from treadle.broker.base import Broker, Filter
from treadle.domain.job import After, At, Job, Priority
from treadle.domain.selection import Ordered
from treadle.domain.state import State
from treadle.testing.virtual import LoopClock, virtual_backends

QUEUES = ("critical", "default", "low")
WAITING = st.lists(st.tuples(st.sampled_from(QUEUES), st.sampled_from(Priority)), max_size=25)


@pytest.mark.contract("F22", "F23", "R01")
@pytest.mark.parametrize(
    "listed", [QUEUES, ("low", "default", "critical")], ids=["given", "turned"]
)
@given(waiting=WAITING)
@settings(max_examples=8)
def test_queues_go_as_listed_then_higher_priorities_then_the_order_of_enqueueing(
    adapter: Adapter, listed: tuple[str, ...], waiting: list[tuple[str, Priority]]
) -> None:
    ran: list[int] = []

    async def run(folder: Path) -> None:
        async with Place(adapter, folder).opened() as place:

            @place.jobs.handler("note")
            async def note(number: int) -> None:
                ran.append(number)

            jobs = [
                Job(
                    id=f"job-{number}",
                    type="note",
                    payload=b'{"number": %d}' % number,
                    queue=queue,
                    priority=priority,
                )
                for number, (queue, priority) in enumerate(waiting)
            ]
            await place.broker.enqueue(jobs)
            await place.burst(concurrency=1, selection=Ordered(listed))

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))

    wanted = sorted(
        range(len(waiting)), key=lambda n: (listed.index(waiting[n][0]), waiting[n][1], n)
    )
    assert ran == wanted


@pytest.mark.anyio
@pytest.mark.slow
@pytest.mark.contract("F25")
async def test_ten_thousand_delayed_jobs_run_once_each_and_never_early(place: Place) -> None:
    """How late they are is the machine's affair; on virtual time, below, it is the worker's."""

    @place.jobs.handler("tick")
    async def tick() -> None: ...

    due = await _ten_thousand(place.broker, place.clock.time_ms() + 2_000)

    async with place.worker(concurrency=100):
        await _until_nothing_is_left(place.broker)

    late = await _late(place.broker, due)
    assert len(late) == 10_000
    assert min(late) >= 0, "one ran early"


@pytest.mark.anyio
@pytest.mark.slow
@pytest.mark.contract("F25")
@pytest.mark.parametrize("anyio_backend", virtual_backends()[:1], ids=["virtual"])
async def test_ten_thousand_delayed_jobs_are_less_than_a_second_late(anyio_backend: Any) -> None:
    works = Works(LoopClock())

    @works.registry.handler("tick")
    async def tick() -> None: ...

    due = await _ten_thousand(works.broker, works.clock.time_ms() + 2_000)

    async with works.worker(concurrency=100):
        await _until_nothing_is_left(works.broker)

    late = await _late(works.broker, due)
    assert len(late) == 10_000
    assert min(late) >= 0, "one ran early"
    assert max(late) < 1_000


async def _ten_thousand(broker: Broker, first: int) -> dict[str, int]:
    """Store jobs that are due within three seconds; return when each is."""
    due = {f"job-{n}": first + n * 3_000 // 10_000 for n in range(10_000)}
    jobs = [Job(id=id, type="tick", due=At(at)) for id, at in due.items()]
    for start in range(0, len(jobs), 1_000):
        await broker.enqueue(jobs[start : start + 1_000])
    return due


async def _until_nothing_is_left(broker: Broker) -> None:
    while True:
        queues = (await broker.stats()).queues
        if not any(queue.waiting or queue.running for queue in queues):
            return
        await anyio.sleep(0.2)


async def _late(broker: Broker, due: Mapping[str, int]) -> list[int]:
    """Return by how many ms each job was late; each has succeeded, and once."""
    late: list[int] = []
    cursor: str | None = None
    while True:
        page = await broker.find(Filter(), cursor=cursor, limit=1_000)
        for record in await broker.get([record.ref for record in page.records]):
            assert record is not None
            assert [row.event for row in record.history] == ["succeed"]
            late.append(record.head.claimed - due[record.job.id])
        if (cursor := page.cursor) is None:
            return late


@pytest.mark.anyio
@pytest.mark.contract("F25")
async def test_a_delay_and_an_instant_are_kept(place: Place) -> None:
    from datetime import UTC, datetime

    @place.jobs.handler("tick")
    async def tick() -> None: ...

    at = datetime.fromtimestamp((place.clock.time_ms() + 7_200_000) / 1_000, UTC)
    delayed = await tick.options(delay=3_600).enqueue()
    scheduled = await tick.options(run_at=at).enqueue()
    given = await place.store("tick", due=After(1_800_000))

    seen: list[list[State]] = []
    for _ in range(4):
        await place.burst()
        seen.append(await place.states([given, delayed.id, scheduled.id]))
        place.clock.advance(1_800_000 if len(seen) < 3 else 3_600_000)
    await place.burst()

    waiting, done = State.WAITING, State.SUCCEEDED
    assert seen[0] == [waiting, waiting, waiting]
    assert seen[1] == [done, waiting, waiting]
    assert seen[2] == [done, done, waiting]
    assert await place.states([scheduled.id]) == [done]
