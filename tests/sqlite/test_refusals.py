"""Files that must not be used, and files that cannot be: a sentence that names the file and what to do."""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from tests.sqlite import look
from treadle.broker.sqlite import SqliteBroker
from treadle.broker.sqlite.migrate import APPLICATION_ID, schema_version
from treadle.broker.url import parse
from treadle.conformance.clock import MovableClock
from treadle.conformance.hand import Hand, make_job, ref, stored
from treadle.errors import BrokerRefused, BrokerUnavailable

pytestmark = pytest.mark.anyio


def broker_of(file: Path, clock: MovableClock, query: str = "") -> SqliteBroker:
    return SqliteBroker(parse(f"sqlite:///{file}{query}"), clock)


async def refusal(file: Path, clock: MovableClock) -> str:
    broker = broker_of(file, clock)
    with pytest.raises(BrokerRefused) as refused:
        await broker.connect()
    await broker.disconnect()
    return str(refused.value)


async def test_a_file_that_is_no_database_is_refused_and_left_alone(
    file: Path, clock: MovableClock
) -> None:
    await anyio.Path(file).write_text("Dear diary, " * 1_000)

    message = await refusal(file, clock)

    assert str(file) in message
    assert "not a usable SQLite database" in message
    assert (await anyio.Path(file).read_text()).startswith("Dear diary")


async def test_the_database_of_another_program_is_refused_and_left_alone(
    file: Path, clock: MovableClock
) -> None:
    with closing(sqlite3.connect(file)) as theirs:
        theirs.execute("CREATE TABLE bookmark (url TEXT)")
        theirs.commit()
    before = await anyio.Path(file).read_bytes()

    message = await refusal(file, clock)

    assert f"{file} is the database of another program" in message
    assert await anyio.Path(file).read_bytes() == before


async def test_a_newer_schema_is_refused_with_the_advice_to_upgrade(
    file: Path, clock: MovableClock
) -> None:
    async with broker_of(file, clock):
        pass
    await look.on(file, f"PRAGMA user_version = {schema_version() + 1}")

    message = await refusal(file, clock)

    assert f"schema {schema_version() + 1}" in message
    assert "Upgrade" in message


async def test_an_empty_file_becomes_a_store(file: Path, clock: MovableClock) -> None:
    await anyio.Path(file).touch()

    async with broker_of(file, clock) as broker:
        await stored(broker, make_job("a"))

    assert await look.on(file, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert await look.on(file, "PRAGMA user_version") == [(schema_version(),)]
    assert await look.on(file, "PRAGMA auto_vacuum") == [(2,)]


async def test_connecting_again_keeps_what_is_stored(file: Path, clock: MovableClock) -> None:
    job = make_job("a")
    async with broker_of(file, clock) as broker:
        await stored(broker, job)
        await broker.connect()

    async with broker_of(file, clock) as broker:
        (record,) = await broker.get([ref(job)])

    assert record is not None


async def test_a_damaged_page_is_named_and_the_broker_goes_on_once_it_is_repaired(
    file: Path, clock: MovableClock
) -> None:
    async with broker_of(file, clock) as broker:
        await stored(
            broker, *(make_job(f"job-{n}", payload=b'"%s"' % (b"x" * 900)) for n in range(200))
        )
    good = await anyio.Path(file).read_bytes()
    await anyio.Path(file).write_bytes(good[:8192] + b"\xff" * (len(good) - 8192))
    broker = broker_of(file, clock)

    async def use() -> None:
        async with broker:
            hand = await Hand.open(broker)
            await hand.claim(10)

    with pytest.raises(BrokerRefused, match=str(file)):
        await use()

    await broker.disconnect()
    await anyio.Path(file).write_bytes(good)
    async with broker_of(file, clock) as again:
        assert len(await (await Hand.open(again)).claim(500)) == 200


async def test_a_directory_that_cannot_be_made_is_unavailable(clock: MovableClock) -> None:
    broker = broker_of(Path("/proc/no/such/jobs.db"), clock)

    with pytest.raises(BrokerUnavailable, match="/proc/no/such"):
        await broker.connect()
    await broker.disconnect()


async def test_a_directory_in_place_of_the_file_is_unavailable(
    tmp_path: Path, clock: MovableClock
) -> None:
    (tmp_path / "jobs.db").mkdir()
    broker = broker_of(tmp_path / "jobs.db", clock)

    with pytest.raises(
        BrokerUnavailable, match=r"is a directory\. Name a file in it: .*jobs\.db/jobs\.db"
    ):
        await broker.connect()
    await broker.disconnect()


_ENQUEUE = """
import os, sys, time
import anyio
from treadle.broker.sqlite import SqliteBroker
from treadle.broker.url import parse
from treadle.domain.job import Job
from treadle.errors import BrokerUnavailable

class Clock:
    def time_ms(self): return 1_700_000_000_000
    def monotonic(self): return time.monotonic()

async def store(file):
    async with SqliteBroker(parse("sqlite:///" + file), Clock()) as broker:
        await broker.enqueue([Job(id="a", type="t")])

async def main():
    open_to_us, closed = sys.argv[1:]
    await store(open_to_us)  # everything is imported now
    if os.getuid() == 0:
        os.setuid(65534)  # the superuser may write everywhere
    try:
        await store(closed)
    except BrokerUnavailable as error:
        print(error)

anyio.run(main)
"""


@pytest.fixture
def closed() -> Iterator[Path]:
    """Return a directory that everybody can look into and that is read-only in the end."""
    directory = Path(tempfile.mkdtemp(prefix="closed-"))
    yield directory
    directory.chmod(0o700)
    shutil.rmtree(directory)


@pytest.mark.parametrize("has_file", [True, False], ids=["existing", "new"])
async def test_a_directory_that_is_read_only_is_unavailable(
    closed: Path, tmp_path: Path, clock: MovableClock, has_file: bool
) -> None:
    file = closed / "jobs.db"
    if has_file:
        async with broker_of(file, clock):
            pass
        async for path in anyio.Path(closed).iterdir():
            await path.chmod(0o444)
    await anyio.Path(closed).chmod(0o555)
    child = [sys.executable, "-c", _ENQUEUE, str(tmp_path / "jobs.db"), str(file)]

    done = await anyio.run_process(child, check=False)

    assert done.returncode == 0, done.stderr.decode()
    assert str(file) in done.stdout.decode()
    assert "permission" in done.stdout.decode()


async def test_a_file_that_is_removed_while_it_is_open_is_noticed(
    file: Path, clock: MovableClock, broker: SqliteBroker
) -> None:
    await stored(broker, make_job("a"))
    for path in file.parent.glob("jobs.db*"):
        if path.is_file():
            path.unlink()

    noticed = False
    with anyio.fail_after(300):
        while not noticed:
            try:
                await broker.enqueue([make_job()])
            except BrokerUnavailable as error:
                noticed = "removed or replaced" in str(error)

    await stored(broker, make_job("b"))
    assert await anyio.Path(file).exists()


async def test_another_programs_transaction_makes_it_unavailable_and_its_end_available(
    file: Path, clock: MovableClock
) -> None:
    async with broker_of(file, clock, "?busy_timeout=50") as broker:
        theirs = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        with closing(theirs):
            theirs.execute("BEGIN IMMEDIATE")
            with pytest.raises(BrokerUnavailable, match="locked by another program"):
                await broker.enqueue([make_job("a")])
            theirs.execute("COMMIT")

        await stored(broker, make_job("a"))


async def test_a_writer_that_was_stopped_delays_others_by_the_busy_timeout_at_most(
    file: Path, clock: MovableClock
) -> None:
    async with broker_of(file, clock, "?busy_timeout=50") as broker:
        with (file.parent / "jobs.db.lock").open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(BrokerUnavailable, match="written by another process"):
                await broker.enqueue([make_job("a")])
            with pytest.raises(BrokerUnavailable, match="written by another process"):
                await broker.enqueue([make_job("b")])
            fcntl.flock(lock, fcntl.LOCK_UN)

        await stored(broker, make_job("a"))
        assert await broker.get([ref(make_job("b"))]) == [None]
