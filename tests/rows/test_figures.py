"""Figures of a small service that are beaten by construction; `nox -s bench` has the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.works import Works
from treadle import Jobs
from treadle.domain.job import Job
from treadle.testing.virtual import LoopClock, virtual_backends

pytestmark = [pytest.mark.anyio, pytest.mark.contract("F34")]


@pytest.mark.parametrize("anyio_backend", virtual_backends()[:1], ids=["virtual"])
async def test_three_slots_run_300_jobs_of_600_ms_within_a_minute(anyio_backend: Any) -> None:
    works = Works(LoopClock())

    @works.registry.handler("work")
    async def work() -> None:
        await anyio.sleep(0.6)

    jobs = [Job(id=f"job-{number}", type="work") for number in range(300)]
    await works.broker.enqueue(jobs)
    began = works.clock.time_ms()

    await works.burst(concurrency=3)

    records = await works.until_final(*(job.id for job in jobs))
    assert max(record.head.finished for record in records) - began <= 60_500


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_thousand_jobs_with_results_and_history_take_less_than_10_mb(
    anyio_backend: str, tmp_path: Path
) -> None:
    jobs = Jobs(f"sqlite:///{tmp_path}/jobs.db")

    @jobs.handler("work")
    async def work(number: int, text: str) -> dict[str, object]:
        return {"number": number, "text": text}

    async with jobs:
        await work.enqueue_many([{"number": n, "text": "x" * 200} for n in range(1_000)])
        await jobs.worker(concurrency=100, burst=True).run()
        assert _bytes_in(tmp_path) < 10_000_000


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
