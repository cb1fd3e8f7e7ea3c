"""Claimers that are killed: good brokers lose nothing by it, and bad ones are told what they did."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from treadle.broker.base import Applied
from treadle.broker.memory import MemoryBroker
from treadle.broker.url import parse
from treadle.conformance import Subject
from treadle.conformance.clock import MovableClock
from treadle.conformance.concurrency import run
from treadle.conformance.concurrency_kills import NOT_APPLICABLE, KillsReport, run_kills
from treadle.conformance.hand import make_job
from treadle.conformance.history import History, How, Recorder
from treadle.conformance.race_journal import Journal, whole_calls

pytestmark = [pytest.mark.anyio, pytest.mark.blocks]

Install = Callable[[str, str], Subject]

BROKER = '''
import pluggy
from msgspec import structs
from treadle.broker.base import Filter, Overdue
from treadle.broker.sqlite import SqliteBroker
from treadle.domain.state import Shown

class Bad(SqliteBroker):
    """A broker on a file that breaks one promise."""

    def another(self):
        return Bad(self.url, self._clock)

{method}

@pluggy.HookimplMarker("treadle")
def treadle_broker(url, clock):
    return Bad(url, clock)
'''
NEGLECTS = """
async def overdue(self, limit):
    return Overdue(now=(await super().overdue(0)).now, records=())

async def stats(self):
    # It forgets the dead here too: so the race ends by itself, however fast the machine is.
    stats = await super().stats()
    queues = tuple(structs.replace(queue, running=0) for queue in stats.queues)
    return structs.replace(stats, queues=queues)
"""
ROBS = """
async def overdue(self, limit):
    page = await self.find(Filter(state=Shown.RUNNING), limit=limit)
    robbed = [structs.replace(record, session_ended=True) for record in page.records]
    return Overdue(now=page.now, records=tuple(robbed))
"""


@pytest.fixture
def anyio_backend() -> str:
    """Run on one event loop; the racers run on their own."""
    return "asyncio"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a bad broker as a package: processes make it by its URL, as anybody's."""

    def install(scheme: str, method: str) -> Subject:
        site = tmp_path / "site"
        info = site / f"treadle_{scheme}-0.1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"treadle_{scheme}.py").write_text(
            BROKER.format(method=textwrap.indent(method, "    "))
        )
        (info / "METADATA").write_text(f"Name: treadle-{scheme}\nVersion: 0.1.0\n")
        (info / "entry_points.txt").write_text(f"[treadle.brokers]\n{scheme} = treadle_{scheme}\n")
        monkeypatch.setattr(sys, "path", [str(site), *sys.path])
        monkeypatch.setenv("PYTHONPATH", str(site))
        return Subject(f"{scheme}:///{tmp_path}/jobs.db")

    return install


@pytest.mark.slow
@pytest.mark.promise(1, 3, 4, 9)
async def test_who_is_killed_loses_no_job_and_runs_none_twice(tmp_path: Path) -> None:
    report = await run_kills(Subject(f"sqlite:///{tmp_path}/jobs.db"), seed=3, limit_s=240)

    assert report.passed, str(report)
    assert report.killed == 4
    assert report.lost > 0
    assert str(report).startswith("4 claimers killed: 240 jobs asked for, ")


@pytest.mark.slow
async def test_a_broker_that_does_not_look_after_the_dead_is_told_so(install: Install) -> None:
    report = await run_kills(install("neglects", NEGLECTS), seed=3, limit_s=60)

    assert report.killed == 4
    assert "H01 no accepted job is lost" in str(report)


@pytest.mark.slow
async def test_a_broker_that_takes_the_living_for_dead_is_told_so(install: Install) -> None:
    report = await run_kills(install("robs", ROBS), seed=3, limit_s=240)

    assert "H04 two valid leases of a job never overlap" in str(report)
    assert "H15 only what nobody holds is overdue" in str(report)


async def test_a_store_of_one_process_is_named_as_not_applicable() -> None:
    report = await run(Subject("memory://"), claimers=2, jobs=60, limit_s=120)

    assert report.kills == KillsReport(is_applicable=False)
    assert report.passed
    assert str(report).endswith(NOT_APPLICABLE)


async def test_a_journal_holds_each_call_before_it_is_made(tmp_path: Path) -> None:
    path = tmp_path / "one.history"
    seen: list[How] = []

    class Watched(MemoryBroker):
        async def enqueue(self, jobs):  # type: ignore[no-untyped-def]
            seen.extend(call.how for call in History.load(whole_calls(path.read_bytes())).calls)
            return await super().enqueue(jobs)

    with Journal.open(path) as journal:
        async with Recorder(Watched(parse("memory://"), MovableClock()), journal) as broker:
            (answer,) = (await broker.enqueue([make_job("a")])).results

    assert isinstance(answer, Applied)
    assert seen == [How.UNKNOWN]
    (call,) = History.load(whole_calls(path.read_bytes())).calls
    assert (call.how, call.answer.told[0].fence) == (How.OK, answer.fence)


async def test_the_torn_end_of_a_journal_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "one.history"
    with Journal.open(path) as journal:
        async with Recorder(MemoryBroker(parse("memory://"), MovableClock()), journal) as broker:
            await broker.purge(1)
            await broker.purge(1)
    log = path.read_bytes()

    calls = History.load(whole_calls(log[:-9])).calls

    assert [call.how for call in calls] == [How.OK, How.UNKNOWN]
