"""`qrun wait` and bulk actions on jobs that are named twice, mixed, or asked twice."""

from __future__ import annotations

import anyio
import pytest

from tests.cli.conftest import Qrun
from tests.support.factories import make_job
from treadle import Jobs
from treadle.domain.outcome import Cancelled, Succeeded


@pytest.mark.parametrize("order", [("bad", "good"), ("good", "bad")], ids=["first", "last"])
def test_waiting_ends_with_1_wherever_the_bad_one_stands(
    qrun: Qrun, order: tuple[str, str]
) -> None:
    qrun.enqueue(make_job(id="good", queue="good"), make_job(id="bad", queue="bad"))
    qrun.end(Succeeded(), queue="good")
    qrun.end(Cancelled(), queue="bad")

    ran = qrun("wait", *order)

    assert ran.code == 1
    assert sorted(ran.out.splitlines()) == ["bad  cancelled", "good  succeeded"]


def test_a_job_that_is_named_twice_is_shown_once(qrun: Qrun) -> None:
    qrun.enqueue(make_job(id="a"))
    qrun.end(Succeeded())

    ran = qrun("wait", "a", "a", "--json")

    assert ran.code == 0
    assert [row["id"] for row in ran.objects] == ["a"]


def test_a_running_job_is_asked_to_stop_once(qrun: Qrun) -> None:
    qrun.enqueue(make_job(id="a"))
    _claim(qrun)

    dry = qrun("jobs", "cancel", "a", "--dry-run")
    first, second = qrun("jobs", "cancel", "a"), qrun("jobs", "cancel", "a")

    assert dry.out == "dry run, would have: cancelled 0, asked 1 running to stop, skipped 0\n"
    assert first.out == "cancelled 0, asked 1 running to stop, skipped 0\n"
    assert second.out == "cancelled 0, skipped 1\n"


def test_a_job_that_is_only_remembered_is_skipped(qrun: Qrun) -> None:
    qrun.enqueue(make_job(id="a"))
    qrun.end(Succeeded())
    assert qrun("jobs", "delete", "a").out == "deleted 1, skipped 0\n"

    again = qrun("jobs", "delete", "a", "--dry-run")

    assert again.out == "dry run, would have: deleted 0, skipped 1\n"


def _claim(qrun: Qrun) -> None:
    """Let a worker begin with what is due, and go on."""

    async def main() -> None:
        async with Jobs(qrun.url) as app:
            broker = await app.client.broker()
            opened = await broker.open("test", 60_000, b"{}")
            await broker.claim(opened.session, ["default"], 10)

    anyio.run(main)
