"""`fleet`: an application's handlers on workers that crash, for days, in seconds."""

from __future__ import annotations

import anyio
import pytest

from treadle import Jobs, fixed
from treadle.testing import Fleet


def make_app() -> tuple[Jobs, list[str]]:
    jobs = Jobs("memory://")
    sent: list[str] = []

    @jobs.handler("send", retry=5)
    async def send(to: str) -> None:
        await anyio.sleep(0.2)
        sent.append(to)

    @jobs.handler("count")
    def count(day: int) -> int:
        sent.append(f"day {day}")
        return day

    @jobs.handler("broken", retry=fixed(3600, retries=2))
    async def broken() -> None:
        raise ValueError

    return jobs, sent


async def fill(jobs: Jobs) -> None:
    await jobs.find("send").enqueue_many([{"to": f"n{n}"} for n in range(40)])
    for day in range(6):
        await jobs.find("count").options(delay=day * 86_400).enqueue(day)
    await jobs.find("broken").enqueue()


def test_a_week_with_twenty_crashes_loses_nothing() -> None:
    jobs, sent = make_app()

    report = Fleet()(jobs, lambda: fill(jobs), workers=4, crashes=20, days=7)

    assert report.lost == 0
    assert report.problems == ()
    assert report.unfinished == ()
    assert report.jobs == 47
    assert report.crashes > 0
    assert report.attempts > report.jobs
    assert report.states["dead"] >= 1
    assert {f"day {day}" for day in range(6)} <= set(sent)


def test_a_seed_is_one_run() -> None:
    def trace() -> str:
        jobs, _ = make_app()
        return Fleet(seed=3)(jobs, lambda: fill(jobs), crashes=5).trace

    assert trace() == trace()


@pytest.mark.anyio
async def test_a_fleet_runs_inside_of_a_loop_too() -> None:
    jobs, sent = make_app()

    report = Fleet()(jobs, lambda: fill(jobs), workers=1, crashes=0, faults=0)

    assert report.attempts == 40 + 6 + 3
    assert len(sent) == 46
