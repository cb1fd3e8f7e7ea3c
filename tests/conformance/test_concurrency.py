"""A race of claimers: good brokers pass it, and a bad one is told what it did."""

# ruff: noqa: ARG002, ARG005 - a bad broker ignores what it is asked.

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from msgspec import structs

from treadle.broker.base import Applied, Claimed, Clock, Enqueued
from treadle.broker.memory import MemoryBroker
from treadle.broker.memory.store import Store
from treadle.broker.url import BrokerUrl, parse
from treadle.conformance.concurrency import ConcurrencyReport, run
from treadle.conformance.subject import Subject
from treadle.domain.job import Job, Record

pytestmark = [pytest.mark.anyio, pytest.mark.blocks]


@pytest.fixture
def anyio_backend() -> str:
    """Run on one event loop; the racers run on their own."""
    return "asyncio"


class _Bad(MemoryBroker):
    """A memory broker whose twins are bad in the same way, as threads need it."""

    def __init__(self, url: BrokerUrl, clock: Clock, store: Store | None = None) -> None:
        super().__init__(url, clock, store)
        self.clock = clock

    def another(self) -> MemoryBroker:
        return type(self)(self.url, self.clock, self._store)


class _ForgetsJobs(_Bad):
    """It says that a job was stored, and drops one in twenty."""

    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        kept = [job for job in jobs if not job.id.endswith(("07", "27", "47", "67", "87"))]
        enqueued = await super().enqueue(kept)
        results = iter(enqueued.results)
        told = [next(results) if job in kept else Applied(fence=1) for job in jobs]
        return structs.replace(enqueued, results=told)


class _GivesTwice(_Bad):
    """It gives what it gave to one worker to the next one too."""

    given: tuple[Record, ...] = ()

    async def claim(
        self, session: str, queues: Sequence[str], limit: int, wait_ms: int = 0
    ) -> Claimed:
        claimed = await super().claim(session, queues, limit, wait_ms)
        again, type(self).given = self.given, tuple(claimed.records[:1])
        return structs.replace(claimed, records=(*claimed.records, *again))


class _Hangs(_Bad):
    """It never answers a claim."""

    async def claim(
        self, session: str, queues: Sequence[str], limit: int, wait_ms: int = 0
    ) -> Claimed:
        await anyio.sleep_forever()
        raise AssertionError


class _Raises(_Bad):
    """It raises what no broker may raise."""

    async def claim(
        self, session: str, queues: Sequence[str], limit: int, wait_ms: int = 0
    ) -> Claimed:
        raise ZeroDivisionError("no driver error may escape")


async def race(kind: type[_Bad], limit_s: float = 300) -> ConcurrencyReport:
    """Let a few workers race on a bad broker."""
    subject = Subject("bad://", make=lambda url, clock: kind(parse("memory://"), clock))
    return await run(subject, claimers=2, jobs=100, limit_s=limit_s)


@pytest.mark.promise(1, 3, 4)
async def test_claimers_in_threads_run_every_job_and_none_twice() -> None:
    report = await run(Subject("memory://"), jobs=600, limit_s=240)

    assert report.passed, str(report)
    assert not report.processes
    assert 450 < report.ended <= 600
    assert report.claims > report.ended


@pytest.mark.slow
@pytest.mark.promise(1, 3, 4)
async def test_claimers_in_processes_run_every_job_and_none_twice(tmp_path: Path) -> None:
    report = await run(Subject(f"sqlite:///{tmp_path}/jobs.db"), jobs=300, limit_s=240, kills=0)

    assert report.passed, str(report)
    assert report.processes
    assert 225 < report.ended <= 300
    assert str(report).startswith("4 claimers in processes: 300 jobs asked for, ")


async def test_a_broker_that_forgets_jobs_is_told_so() -> None:
    report = await race(_ForgetsJobs)

    assert not report.passed
    assert "H01 no accepted job is lost: race-000007" in str(report)


async def test_a_broker_that_gives_a_job_twice_is_told_so() -> None:
    report = await race(_GivesTwice)

    assert not report.passed
    assert "H05 fences only grow" in str(report)


async def test_a_broker_that_hangs_fails_in_bounded_time() -> None:
    with anyio.fail_after(300):
        report = await race(_Hangs, limit_s=3)

    assert not report.passed
    assert "claimer w0 raised TimeoutError: a call did not return" in str(report)


async def test_a_race_that_was_lost_is_not_followed_by_another() -> None:
    report = await run(Subject("memory://", make=_Hangs), claimers=1, jobs=60, limit_s=1)

    assert not report.passed
    assert report.kills is None


async def test_a_broker_that_raises_anything_fails_with_a_sentence() -> None:
    report = await race(_Raises)

    assert not report.passed
    assert "claimer w1 raised ZeroDivisionError: no driver error may escape" in str(report)
