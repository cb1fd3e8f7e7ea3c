"""`qrun demo` and `qrun bench`: the figures are counted from the broker, and nothing remains."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest
from msgspec import structs

from tests.cli.conftest import Qrun
from tests.support.factories import NOW, make_job, make_record
from treadle import Jobs
from treadle.broker.sqlite.lock import SideLock
from treadle.cli.demo.figures import figures
from treadle.cli.demo.profiles import examples
from treadle.cli.place import fresh_place
from treadle.domain.job import After, HistoryRow, Record
from treadle.domain.state import State
from treadle.errors import BrokerUnavailable

DEMO_KEYS = {"enqueued", "succeeded", "dead", "retried", "recovered", "lost", "jobs_per_second"}


def _row(
    event: str, fence: int, *, attempt: int = 1, session: str = "a", at: int = 0
) -> HistoryRow:
    return HistoryRow(
        event=event, fence=fence, attempt=attempt, session=session, claimed=NOW + at, at=NOW + at
    )


def _ended(
    id: str, *history: HistoryRow, state: State = State.SUCCEEDED, attempt: int = 1
) -> Record:
    job = make_job(id=id)
    record = make_record(state, job=job, attempt=attempt, finished=NOW + 1_000)
    return structs.replace(record, history=history)


def test_a_job_that_is_not_there_or_not_final_is_lost() -> None:
    records = {
        "a": _ended("a", _row("succeed", 2)),
        "b": make_record(State.RUNNING, job=make_job(id="b")),
    }

    found = figures(["a", "b", "c"], records, "a")

    assert (found.enqueued, found.succeeded, found.lost) == (3, 1, 2)


def test_recovered_is_what_the_killed_session_lost_and_another_one_ended() -> None:
    records = {
        "saved": _ended("saved", _row("lose", 2, session="dead"), _row("succeed", 4, session="b")),
        "other": _ended("other", _row("lose", 2, session="x"), _row("succeed", 4, session="b")),
        "plain": _ended("plain", _row("succeed", 2, session="dead")),
        "still": make_record(State.RUNNING, job=make_job(id="still")),
    }

    assert figures(list(records), records, "dead").recovered == 1


def test_retried_is_what_failed_and_ran_again() -> None:
    records = {
        "again": _ended("again", _row("fail", 2), _row("succeed", 4, attempt=2), attempt=2),
        "once": _ended("once", _row("fail", 2), state=State.DEAD),
        "good": _ended("good", _row("succeed", 2)),
    }

    found = figures(list(records), records, "")

    assert (found.retried, found.dead, found.succeeded) == (1, 1, 2)


def test_two_successes_of_one_run_are_told() -> None:
    records = {"a": _ended("a", _row("succeed", 2), _row("succeed", 4))}

    assert figures(["a"], records, "").run_twice == 1


def test_waiting_is_counted_from_when_the_job_was_due() -> None:
    late = structs.replace(
        _ended("late", _row("succeed", 2, at=1_250)), job=make_job(due=After(1_000))
    )
    soon = _ended("soon", _row("succeed", 2, at=40))

    found = figures(["late", "soon"], {"late": late, "soon": soon}, "")

    assert (found.wait_p50_ms, found.wait_p99_ms, found.delayed) == (250, 250, 1)


def test_the_plan_holds_every_example_some_of_them_delayed() -> None:
    jobs = examples(50)

    assert len({job.id for job in jobs}) == 500
    assert len({job.type for job in jobs}) == 10
    assert sum(job.due != After(0) for job in jobs) == 20


def store(url: str) -> None:
    """Leave a job in a store."""

    async def main() -> None:
        async with Jobs(url) as app:
            await app.client.enqueue([make_job(id="a")])

    anyio.run(main)


def test_a_fresh_place_is_beside_the_file_that_was_named(tmp_path: Path) -> None:
    kept = tmp_path / "jobs.db"
    kept.write_text("mine")

    with fresh_place(f"sqlite:///{kept}?durability=process&namespace=shop", "demo") as url:
        store(url)
        made = set(tmp_path.iterdir()) - {kept}

    assert re.fullmatch(r"sqlite:.*\?durability=process&namespace=demo-[0-9a-f]{8}", url)
    assert any(re.fullmatch(r"jobs\.demo-[0-9a-f]{8}\.db", path.name) for path in made)
    assert list(tmp_path.iterdir()) == [kept]
    assert kept.read_text() == "mine"


def test_a_fresh_place_is_erased_also_if_the_work_in_it_failed(tmp_path: Path) -> None:
    def work() -> None:
        with fresh_place(f"sqlite:///{tmp_path}/jobs.db", "demo") as url:
            store(url)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()

    assert list(tmp_path.iterdir()) == []


def test_a_fresh_place_that_cannot_be_erased_is_told(tmp_path: Path) -> None:
    def work(held: ExitStack) -> None:
        with fresh_place(f"sqlite:///{tmp_path}/jobs.db?busy_timeout=10", "demo") as url:
            store(url)
            (lock,) = tmp_path.glob("*.lock")
            keeper = SideLock(lock)
            keeper.acquire()
            held.callback(keeper.close)

    with ExitStack() as held, pytest.raises(BrokerUnavailable, match="not erased"):
        work(held)


@pytest.mark.slow
@pytest.mark.promise(1, 5)
@pytest.mark.contract("F15")
def test_the_demo_kills_a_worker_and_loses_nothing(qrun: Qrun) -> None:
    qrun("enqueue", "mine", "--id", "mine")
    before = set(qrun.folder.iterdir())

    ran = qrun.process("demo", "--json", "--url", qrun.url)

    (found,) = ran.objects
    assert ran.code == 0, ran.err
    assert found.keys() >= DEMO_KEYS
    assert (found["enqueued"], found["lost"], found["run_twice"]) == (2_000, 0, 0)
    assert found["succeeded"] + found["dead"] == 2_000
    assert found["recovered"] > 0
    assert found["retried"] > 0
    assert found["dead"] > 0
    assert set(qrun.folder.iterdir()) == before
    assert qrun.states() == {"mine": "queued"}


def test_the_demo_wants_a_broker_that_processes_share(qrun: Qrun) -> None:
    assert qrun("demo", "--url", "memory://").code == 2


@pytest.mark.parametrize("url", ["memory://", ""])
def test_the_bench_measures_beside_the_raw_loop(qrun: Qrun, url: str) -> None:
    qrun("enqueue", "mine", "--id", "mine")
    before = set(qrun.folder.iterdir())

    ran = qrun("bench", "--jobs", "300", "--json", "--url", url or qrun.url)

    rows = {row["measure"]: row for row in ran.objects}
    assert ran.code == 0
    assert list(rows) == ["enqueue", "enqueue_many", "drain"]
    assert rows["drain"]["jobs"] == 600
    assert all(row["complete"] and row["ratio"] is not None for row in rows.values())
    assert set(qrun.folder.iterdir()) == before
