"""Handlers that end their process: by exit, by a fault of its memory, or killed for want of it."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.site import QUICK_LEASE, Site, make
from tests.support.places import Place
from treadle.domain.state import State

pytestmark = pytest.mark.promise(10)

APP = textwrap.dedent(
    '''
    """Handlers that end their process."""

    import ctypes
    import os
    import signal

    from treadle import Jobs

    jobs = Jobs()


    def _end(how: str) -> str:
        if how == "exit":
            os._exit(9)
        if how == "abort":
            os.abort()
        if how == "segfault":
            ctypes.string_at(0)
        if how == "oom":
            os.kill(os.getpid(), signal.SIGKILL)
        return how


    @jobs.handler("end", retry=1)
    async def end(how: str) -> str:
        return _end(how)


    @jobs.handler("child", retry=0, run_in="process")
    def child(how: str) -> str:
        return _end(how)
    '''
)
ENDINGS = ("exit", "segfault", "oom", "abort")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Give a store, and an application whose handlers end their process."""
    site = Site(tmp_path)
    (tmp_path / "crash_app.py").write_text(APP)
    yield site
    site.close()


@pytest.mark.slow
@pytest.mark.promise(7)
def test_each_way_to_end_the_worker_is_quarantined_after_three_deaths(site: Site) -> None:
    endings = ("segfault", "oom")
    bad = site.enqueue([make(how, "end", b'{"how": "%s"}' % how.encode()) for how in endings])
    good = site.enqueue([make(f"good-{n}", "end", b'{"how": "well"}') for n in range(20)])

    supervisor = site.worker("--processes", "1", "--concurrency", "5", *QUICK_LEASE)
    records = site.until_final([*bad, *good])

    for record in records[: len(bad)]:
        assert (record.head.state, record.head.reason) == (State.DEAD, "quarantined")
        assert record.head.deaths == 3
        assert [row.event for row in record.history].count("lose") == 3
        assert "fail" not in [row.event for row in record.history], "a death uses up no retry"
    assert {record.head.state for record in records[len(bad) :]} == {State.SUCCEEDED}
    assert supervisor.poll() is None


@pytest.mark.anyio
async def test_a_child_process_that_ends_fails_its_attempt_and_no_other(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ending_app.py").write_text(APP)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    @place.jobs.handler("child", retry=0, run_in="process")
    def child(how: str) -> str:
        return how

    jobs = await child.enqueue_many([{"how": how} for how in (*ENDINGS, "well")])

    worker = await place.burst(concurrency=2, app="ending_app:jobs")

    records = [await place.get(job.id) for job in jobs]
    assert [record.head.state for record in records] == [State.DEAD] * 4 + [State.SUCCEEDED]
    assert await jobs[-1].result(timeout=300) == "well"
    assert (worker.report.dead, worker.report.succeeded) == (4, 1)
    for record, named in zip(records, ("9", "SIGSEGV", "SIGKILL", "SIGABRT"), strict=False):
        error = record.history[-1].error
        assert error is not None
        assert named in error.message
