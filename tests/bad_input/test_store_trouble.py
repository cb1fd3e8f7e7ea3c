"""A SQLite file that is damaged, foreign, newer, out of reach or full: said clearly, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from tests.contract.adapters import Adapter, adapters
from tests.support.places import Place
from treadle import Jobs
from treadle.broker.sqlite import migrate
from treadle.domain.state import State
from treadle.errors import BrokerError, BrokerRefused, BrokerUnavailable, NotAccepted, StorageFull
from treadle.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.promise(10, 13)]

FULL = "?max_pages=120"


@pytest.fixture
def adapter() -> Adapter:
    """Return the broker on files."""
    (found,) = (each for each in adapters() if each.name == "sqlite")
    return found


async def _refused(place: Place) -> tuple[BrokerError, BrokerError]:
    """Return what a worker and a producer are told by a store that cannot be used."""
    other = Jobs(place.url, settings=Settings(), clock=place.clock)

    @other.handler("mail")
    async def mail() -> None: ...

    worker = other.worker(name="w2")
    with pytest.raises(BrokerError) as told_worker, anyio.fail_after(300):
        await worker.run()
    with pytest.raises(BrokerError) as told_producer, anyio.fail_after(300):
        await mail.enqueue()
    await other.close()
    return told_worker.value, told_producer.value


async def test_a_damaged_file_is_named_and_left_alone(adapter: Adapter, tmp_path: Path) -> None:
    place = Place(adapter, tmp_path)
    file = tmp_path / "jobs.db"
    file.write_bytes(b"these are not the bytes of a database" * 100)
    before = file.read_bytes()

    for error in await _refused(place):
        assert str(file) in str(error)
        assert "not a usable SQLite database" in str(error)
        assert "backup" in str(error)

    assert file.read_bytes() == before


async def test_damage_inside_the_file_is_no_crash_of_the_worker(
    adapter: Adapter, tmp_path: Path
) -> None:
    place = Place(adapter, tmp_path)

    @place.jobs.handler("mail")
    async def mail(text: str) -> None: ...

    async with place.opened():
        for _ in range(100):
            await place.store("mail", b'{"text": "%s"}' % (b"x" * 2_000))
    file = tmp_path / "jobs.db"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = file.read_bytes()
    file.write_bytes(whole[:4_096] + os.urandom(len(whole) - 4_096))

    worker = place.make_worker(burst=True)
    with anyio.move_on_after(10), pytest.raises(BrokerError, match="SQLite"):
        await worker.run()

    # With the backup in its place again, every job is there.
    for ending in ("-wal", "-shm"):
        file.with_name(file.name + ending).unlink(missing_ok=True)
    file.write_bytes(whole)
    async with Place(adapter, tmp_path).opened() as again:
        assert (await again.broker.stats()).queues[0].waiting == 100


async def test_a_file_of_another_program_or_of_a_newer_version_is_refused_unchanged(
    adapter: Adapter, tmp_path: Path
) -> None:
    place = Place(adapter, tmp_path)
    file = tmp_path / "jobs.db"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE song (title TEXT)")
        connection.commit()
    foreign = await _refused(place)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (1,)
    file.unlink()

    async with place.opened():
        id = await place.store("mail")
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA user_version = {migrate.schema_version() + 1}")
    newer = await _refused(place)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA user_version = {migrate.schema_version()}")

    assert all("another program" in str(error) for error in foreign)
    assert all("newer version" in str(error) for error in newer)
    assert all("Upgrade treadle" in str(error) for error in newer)
    assert isinstance(newer[0], BrokerRefused)
    async with place.opened():
        assert await place.states([id]) == [State.WAITING]


@pytest.mark.parametrize("way", ["a file on the way", "no such file system", "a directory"])
async def test_a_directory_that_cannot_be_written_is_named(
    adapter: Adapter, tmp_path: Path, way: str
) -> None:
    place = Place(adapter, tmp_path)
    if way == "a file on the way":
        (tmp_path / "there").write_text("a file")
        place.url = f"sqlite:///{tmp_path}/there/jobs.db"
    elif way == "a directory":
        (tmp_path / "jobs.db").mkdir()
    else:
        place.url = "sqlite:////proc/nowhere/jobs.db"  # not even root can make a directory there

    for error in await _refused(place):
        assert isinstance(error, BrokerUnavailable | NotAccepted)
        assert str(error)
        assert any(
            word in str(error) for word in ("jobs.db", str(tmp_path / "there"), "/proc/nowhere")
        )


@pytest.fixture
async def small(adapter: Adapter, tmp_path: Path) -> AsyncIterator[Place]:
    """Give a store with room for some jobs only."""
    async with Place(adapter, tmp_path, options=FULL).opened() as place:
        yield place


async def test_a_full_store_refuses_new_jobs_and_finishes_all_that_it_took(small: Place) -> None:
    ran: list[str] = []

    @small.jobs.handler("mail", retention=60, retry=1)
    async def mail(number: str, text: str) -> str:
        ran.append(number)
        return text[:100]

    accepted: list[str] = []

    async def fill() -> None:
        for number in range(2_000):
            job = await mail.enqueue(str(number), "x" * 3_000)
            accepted.append(job.id)

    with pytest.raises(StorageFull, match="pages"):
        await fill()
    assert len(accepted) > 20

    worker = await small.burst()

    assert worker.report.succeeded == len(accepted) == len(ran)
    assert set(await small.states(accepted)) == {State.SUCCEEDED}

    small.clock.advance(24 * 3_600_000)
    while await small.broker.purge(1_000):
        pass
    again = await mail.enqueue("again", "x")
    await small.burst()
    assert await again.result(timeout=300) == "x"


async def test_a_running_worker_outlives_a_full_store(small: Place) -> None:
    @small.jobs.handler("mail")
    async def mail(text: str) -> str:
        await anyio.lowlevel.checkpoint()
        return text

    accepted: list[str] = []
    refused = 0
    async with small.worker(concurrency=4) as worker:
        for _ in range(300):
            try:
                accepted.append((await mail.enqueue("x" * 3_000)).id)
            except StorageFull:
                refused += 1
        records = await small.until_final(*accepted)

    assert refused > 0
    assert {record.head.state for record in records} == {State.SUCCEEDED}
    assert worker.report.succeeded == len(accepted)
