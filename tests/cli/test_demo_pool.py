"""`qrun demo --profile pool`: simulated work of some seconds, with random failures."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.conftest import Qrun
from tests.cli.test_demo import DEMO_KEYS
from tests.support.works import Works
from treadle.cli.demo import pool
from treadle.cli.demo.profiles import pool_jobs
from treadle.domain.state import Event, State
from treadle.testing.virtual import LoopClock, virtual_backends


@pytest.fixture
def anyio_backend() -> Any:
    """Run on virtual time."""
    return virtual_backends()[0]


@pytest.mark.contract("F10")
def test_the_plan_of_the_pool_holds_the_three_types_mixed() -> None:
    jobs = pool_jobs(4)

    assert [job.type for job in jobs] == ["email", "notification", "report"] * 4
    assert len({job.id for job in jobs}) == 12


@pytest.mark.contract("F10")
@pytest.mark.parametrize(
    ("type", "least", "most"), [("email", 2, 4), ("notification", 1, 2), ("report", 3, 5)]
)
def test_the_jobs_of_the_pool_take_their_time(type: str, least: int, most: int) -> None:
    taken = [pool.seconds(type, f"demo-{number}") for number in range(500)]

    assert least <= min(taken) < least + 0.1
    assert most - 0.1 < max(taken) <= most


@pytest.mark.contract("F10")
def test_some_attempts_of_the_pool_fail_and_hardly_any_job_does() -> None:
    failing = [[pool.fails(f"demo-{n}", attempt) for attempt in range(1, 5)] for n in range(1_000)]

    assert 0.12 < sum(first for first, *_ in failing) / 1_000 < 0.18
    assert sum(all(attempts) for attempts in failing) < 5


@pytest.mark.anyio
@pytest.mark.contract("F10")
async def test_each_attempt_of_the_pool_works_as_long_and_fails_as_told() -> None:
    works = Works(LoopClock())
    works.registry = pool.jobs
    jobs = pool_jobs()
    await works.broker.enqueue(jobs)

    async with works.worker(concurrency=6):
        records = await works.until_final(*(job.id for job in jobs))

    for record in records:
        job = record.job
        events = [row.event == Event.FAIL for row in record.history]
        assert events == [pool.fails(job.id, row.attempt) for row in record.history]
        assert record.head.state is (
            State.DEAD if len(events) == 4 and events[-1] else State.SUCCEEDED
        )
        for row in record.history:
            assert row.ran_ms == pytest.approx(pool.seconds(job.type, job.id) * 1_000, abs=5)


@pytest.mark.slow
@pytest.mark.contract("F10")
def test_the_demo_of_the_pool_loses_nothing(qrun: Qrun) -> None:
    ran = qrun.process("demo", "--profile", "pool", "--json")

    (found,) = ran.objects
    assert ran.code == 0, ran.err
    assert found.keys() >= DEMO_KEYS
    assert (found["enqueued"], found["lost"], found["run_twice"]) == (48, 0, 0)
    assert found["succeeded"] + found["dead"] == 48
    assert found["retried"] > 0
    assert found["recovered"] > 0
