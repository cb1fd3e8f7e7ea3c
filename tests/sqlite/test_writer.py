"""What the writer's thread promises beyond the contract: numbers, levels, sockets, room on the disk."""

from __future__ import annotations

import os
import select
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest

from treadle.broker.sqlite import SqliteBroker
from treadle.broker.sqlite.location import Location, locate
from treadle.broker.sqlite.lock import SideLock
from treadle.broker.sqlite.migrate import migrate
from treadle.broker.sqlite.operations import Enqueue
from treadle.broker.sqlite.transaction import Transaction
from treadle.broker.sqlite.wake import Ringer, wake_directory
from treadle.broker.sqlite.writer import Writer
from treadle.broker.url import parse
from treadle.conformance.clock import MovableClock
from treadle.conformance.hand import Hand, make_job, stored
from treadle.domain.job import Ref
from treadle.domain.outcome import RefusalCode, Refused
from treadle.errors import BrokerRefused, SessionEnded

pytestmark = pytest.mark.anyio


@pytest.fixture
def location(file: Path) -> Location:
    return locate(parse(f"sqlite:///{file}"))


@pytest.mark.promise(15)
async def test_a_queue_whose_first_job_was_rolled_back_shares_no_number_with_the_next(
    file: Path, clock: MovableClock
) -> None:
    async with SqliteBroker(parse(f"sqlite:///{file}?max_pages=400"), clock) as broker:
        huge = make_job("huge", queue="a", payload=b'"%s"' % (b"x" * 3_000_000))
        (refused,) = (await broker.enqueue([huge])).results
        await stored(broker, make_job("of-b", queue="b"))
        await stored(broker, make_job("of-a", queue="a"))
        hand = await Hand.open(broker)
        (of_a,) = (await broker.claim(hand.session, ["a"], 10)).records
        (of_b,) = (await broker.claim(hand.session, ["b"], 10)).records

        assert isinstance(refused, Refused)
        assert refused.code is RefusalCode.STORAGE_FULL
        assert (of_a.job.id, of_b.job.id) == ("of-a", "of-b")
        assert await broker.get([Ref("a", "of-b")]) == [None]


@pytest.mark.promise(4)
async def test_a_session_is_known_by_its_whole_name_not_by_its_number(
    broker: SqliteBroker, hand: Hand
) -> None:
    number = hand.session.rpartition("#")[2]

    for wrong in (f"somebody-else#{number}", number, f"#{number}", f"{hand.session}0"):
        with pytest.raises(SessionEnded):
            await broker.heartbeat(wrong, ())
    await broker.heartbeat(hand.session, ())


async def test_who_made_a_file_theirs_meanwhile_keeps_it(file: Path) -> None:
    def run() -> tuple[list[tuple[str]], bool]:
        raw = sqlite3.connect(file, isolation_level=None)
        try:
            raw.execute("CREATE TABLE theirs (x)")
            raw.execute("PRAGMA application_id = 7")
            with pytest.raises(BrokerRefused, match="another program"):
                migrate(raw, file)
            return raw.execute("SELECT name FROM sqlite_master").fetchall(), raw.in_transaction
        finally:
            raw.close()

    tables, in_transaction = await anyio.to_thread.run_sync(run)

    assert tables == [("theirs",)]
    assert not in_transaction


@pytest.fixture
async def writer(location: Location, clock: MovableClock) -> AsyncIterator[Writer]:
    """A writer alone, without a broker around it."""
    writer = Writer(location, clock, Ringer(location))
    yield writer
    await writer.end()


@pytest.mark.promise(2)
async def test_one_durable_write_makes_the_whole_commit_durable(
    writer: Writer, location: Location
) -> None:
    def level(tx: Transaction) -> int:
        found: int = tx.rows("PRAGMA synchronous")[0][0]
        return found

    levels: dict[str, int] = {}
    begun = 0

    async def write(name: str, *, durable: bool) -> None:
        nonlocal begun
        begun += 1
        levels[name] = await writer.write(level, durable=durable)

    await write("alone", durable=False)
    lock = SideLock(location.lock)
    lock.acquire()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: write("first", durable=False))
        while not writer.waiting:  # noqa: ASYNC110 - its thread says it to nobody
            await anyio.sleep(0.001)
        # These two wait together for the next round.
        tasks.start_soon(lambda: write("lazy", durable=False))
        tasks.start_soon(lambda: write("durable", durable=True))
        await anyio.wait_all_tasks_blocked()
        lock.release()
    lock.close()

    assert begun == 4
    assert (levels["alone"], levels["lazy"], levels["durable"]) == (1, 2, 2)


async def test_who_claims_is_woken_before_the_commit_and_who_reads_events_after_it(
    broker: SqliteBroker, location: Location, clock: MovableClock
) -> None:
    directory = wake_directory(location)
    assert directory is not None
    rung_at_commit: list[list[str]] = []
    writer = Writer(location, clock, Ringer(location))
    with ExitStack() as kept:
        bells: dict[str, socket.socket] = {}
        for ending in ("claims", "events"):
            bells[ending] = kept.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            bells[ending].bind(str(directory / f"1-0.{ending}"))

        def look(statement: str) -> None:
            if statement == "COMMIT":
                readable, _, _ = select.select(list(bells.values()), [], [], 0)
                rung_at_commit.append([name for name, bell in bells.items() if bell in readable])

        await writer.outside(lambda connection: connection.raw.set_trace_callback(look))
        await writer.ask(Enqueue([make_job("news")]))

        assert rung_at_commit == [["claims"]]
        assert bells["claims"].recv(4_096) == b"default"
        with anyio.fail_after(60):
            await anyio.wait_readable(bells["events"])
    await writer.end()


async def test_the_socket_of_a_process_that_is_gone_is_removed(
    broker: SqliteBroker, location: Location
) -> None:
    directory = wake_directory(location)
    assert directory is not None
    left = directory / "1-0.claims"
    gone = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    gone.bind(str(left))
    gone.close()

    await stored(broker, make_job("news"))

    assert not left.exists()


@pytest.mark.promise(13)
@pytest.mark.parametrize(
    ("total_mb", "free_mb", "is_short"),
    [(100_000, 31, True), (100_000, 33, False), (100, 4, True), (100, 6, False)],
    ids=["32-MiB-of-a-large-disk", "enough", "a-twentieth-of-a-small-one", "enough-of-a-small-one"],
)
async def test_the_last_of_the_disk_is_kept_for_running_jobs(
    broker: SqliteBroker,
    monkeypatch: pytest.MonkeyPatch,
    total_mb: int,
    free_mb: int,
    is_short: bool,
) -> None:
    disk = SimpleNamespace(f_frsize=1024, f_blocks=total_mb * 1024, f_bavail=free_mb * 1024)

    def look(_path: object) -> SimpleNamespace:
        return disk

    monkeypatch.setattr(os, "statvfs", look)

    (answer,) = (await broker.enqueue([make_job("new")])).results

    assert isinstance(answer, Refused) is is_short
    if isinstance(answer, Refused):
        assert answer.code is RefusalCode.STORAGE_FULL
        assert f"{free_mb * 1024} KiB left" in answer.detail
