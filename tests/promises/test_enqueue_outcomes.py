"""An enqueue is accepted, not accepted or uncertain, in bounded time, also while the store is held."""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest

from tests.contract.adapters import Adapter, adapters
from tests.support.places import Place
from treadle import Job
from treadle.domain.state import State
from treadle.errors import NotAccepted, Uncertain
from treadle.runtime.enqueuer import Enqueuer
from treadle.settings import load

pytestmark = [pytest.mark.anyio, pytest.mark.promise(3)]

BOUND_S = 0.5


@pytest.fixture
def adapter() -> Adapter:
    """Return the broker on files."""
    (found,) = (each for each in adapters() if each.name == "sqlite")
    return found


@contextlib.contextmanager
def _held(folder: Path, how: str) -> Generator[None]:
    """Hold the store, as a database browser does, or a process of ours that was stopped."""
    if how == "database":
        with contextlib.closing(sqlite3.connect(folder / "jobs.db", timeout=5)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield
            other.execute("ROLLBACK")
    else:
        with (folder / "jobs.db.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


async def _insisted(mail: Enqueuer[[], str]) -> Job[str]:
    """Enqueue, and again if a busy machine makes even this take longer than the bound."""
    while True:
        try:
            return await mail.enqueue()
        except (NotAccepted, Uncertain):
            continue


@pytest.mark.parametrize("how", ["database", "lock file"])
async def test_an_enqueue_into_a_store_that_is_held_ends_in_time_and_can_be_repeated(
    adapter: Adapter, tmp_path: Path, how: str
) -> None:
    flags = {"enqueue_timeout": f"{BOUND_S}s"}
    settings = load(folder=tmp_path, environ={}, flags=flags)
    # Nothing but the bound ends it: the store itself would wait for ten minutes.
    place = Place(adapter, tmp_path, options="?busy_timeout=600000", settings=settings)

    @place.jobs.handler("mail")
    async def mail() -> str:
        return "sent"

    async with place.opened(), place.worker() as worker:
        with anyio.fail_after(300):
            first = await _insisted(mail.options(id="order-6"))
            await first.result(timeout=300)
            with _held(tmp_path, how), pytest.raises((NotAccepted, Uncertain)):
                await mail.options(id="order-7").enqueue()
            again = await _insisted(mail.options(id="order-7"))
            result = await again.result(timeout=300)

    assert result == "sent"
    assert worker.report.succeeded == 2


async def test_what_was_accepted_before_the_store_was_held_is_done_after_it(
    adapter: Adapter, tmp_path: Path
) -> None:
    place = Place(adapter, tmp_path)

    @place.jobs.handler("mail")
    async def mail() -> None:
        await anyio.sleep(0.01)

    async with place.opened():
        ids = [(await mail.enqueue()).id for _ in range(30)]
        async with place.worker(concurrency=3):
            await place.until_final(ids[0])
            with _held(tmp_path, "database"):
                await anyio.sleep(0.3)  # the fault itself: for so long nobody can write
            records = await place.until_final(*ids)

    assert {record.head.state for record in records} == {State.SUCCEEDED}
    assert [len(record.history) for record in records] == [1] * 30
