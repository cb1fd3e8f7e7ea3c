"""Erasing a store on files: which of them go, and what happens to who has them open."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from tests.sqlite import look
from treadle.broker.base import Applied
from treadle.broker.sqlite import SqliteBroker
from treadle.broker.sqlite.location import locate
from treadle.broker.sqlite.lock import SideLock
from treadle.broker.sqlite.wake import wake_directory
from treadle.broker.url import parse
from treadle.conformance.clock import MovableClock
from treadle.conformance.hand import Hand, ids, make_job, stored
from treadle.errors import BrokerUnavailable

pytestmark = pytest.mark.anyio


async def test_no_file_of_an_erased_store_is_left(
    file: Path, broker: SqliteBroker, hand: Hand
) -> None:
    sockets = _sockets(broker)
    async with broker.another() as waiting, anyio.create_task_group() as tasks:
        tasks.start_soon(waiting.claim, hand.session, ("default",), 1, 60_000)
        with anyio.fail_after(300):
            while not list(sockets.glob("*.claims")):
                await broker.stats()
        tasks.cancel_scope.cancel()
    sockets.mkdir(exist_ok=True)
    mine = file.with_name("mine.txt")
    mine.write_text("kept")

    await broker.erase()

    assert list(file.parent.iterdir()) == [mine]
    assert not sockets.exists()


def _sockets(broker: SqliteBroker) -> Path:
    found = wake_directory(locate(broker.url))
    assert found is not None
    return found


async def test_erasing_goes_on_where_a_crash_has_stopped_it(
    file: Path, broker: SqliteBroker
) -> None:
    await stored(broker, make_job())
    await broker.disconnect()
    _leave_only_a_log(file, b"what was not checkpointed")

    await broker.erase()

    assert _names(file.parent) == []


async def test_a_log_that_outlives_its_database_brings_nothing_back(
    file: Path, broker: SqliteBroker, clock: MovableClock
) -> None:
    await stored(broker, make_job("old"))
    log = _log(file).read_bytes()
    await broker.disconnect()
    _leave_only_a_log(file, log)

    async with SqliteBroker(broker.url, clock) as fresh:
        assert (await fresh.stats()).queues == ()

    assert look.is_sound(file)


async def test_erasing_makes_no_folder(tmp_path: Path, clock: MovableClock) -> None:
    await SqliteBroker(parse(f"sqlite:///{tmp_path}/none/jobs.db"), clock).erase()

    assert _names(tmp_path) == []


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _log(file: Path) -> Path:
    return file.with_name("jobs.db-wal")


def _lock(file: Path) -> Path:
    return file.with_name("jobs.db.lock")


def _leave_only_a_log(file: Path, log: bytes) -> None:
    file.unlink()
    _log(file).write_bytes(log)


def _remove(*files: Path) -> None:
    for file in files:
        file.unlink()


async def test_a_lock_that_somebody_keeps_ends_the_patience(
    file: Path, clock: MovableClock
) -> None:
    broker = SqliteBroker(parse(f"sqlite:///{file}?busy_timeout=50"), clock)
    await stored(broker, make_job("kept"))
    keeper = SideLock(_lock(file))
    await broker.disconnect()
    keeper.acquire()

    with pytest.raises(BrokerUnavailable, match="it was not erased"):
        await broker.erase()

    keeper.close()
    assert ids(await (await Hand.open(broker)).claim()) == ["kept"]
    await broker.disconnect()


async def test_who_waits_for_the_lock_of_an_erased_store_writes_nothing_into_the_void(
    file: Path, broker: SqliteBroker
) -> None:
    """Whatever is answered `Applied` after the store was erased is in the new one."""
    async with broker.another() as twin:
        await stored(twin, make_job("before"))
        keeper = SideLock(_lock(file))
        keeper.acquire()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_enqueue_or_be_refused, twin)
            await anyio.wait_all_tasks_blocked()
            _remove(file, _lock(file))
            keeper.close()

        answer = await twin.enqueue([make_job("after")])

        assert isinstance(answer.results[0], Applied)
        assert look.scanned(file) == {"default": (0, 1, 0, 0, 0, 0)}


async def _enqueue_or_be_refused(broker: SqliteBroker) -> None:
    with pytest.raises(BrokerUnavailable, match="removed"):
        await broker.enqueue([make_job("meanwhile")])
