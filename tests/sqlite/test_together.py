"""Operations of many callers share a transaction, and nothing else."""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from tests.sqlite import look
from treadle.broker.base import Applied, Durability
from treadle.broker.sqlite import SqliteBroker
from treadle.broker.url import parse
from treadle.conformance.clock import MovableClock
from treadle.conformance.hand import Hand, ids, make_job, ref, stored
from treadle.errors import TooLarge

pytestmark = pytest.mark.anyio


@contextmanager
def locked(file: Path) -> Generator[None]:
    """Keep everybody from writing."""
    with file.with_name("jobs.db.lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        fcntl.flock(lock, fcntl.LOCK_UN)


async def test_what_is_asked_at_once_is_written_at_once(file: Path, broker: SqliteBroker) -> None:
    async with anyio.create_task_group() as group:
        with locked(file):
            for number in range(50):
                group.start_soon(stored, broker, make_job(f"job-{number}"))
            await anyio.wait_all_tasks_blocked()

    rows = await look.on(file, "SELECT count(*) FROM event")
    assert int(str(rows[0][0])) <= 3


async def test_an_operation_that_fails_leaves_its_neighbours_alone(
    file: Path, broker: SqliteBroker
) -> None:
    failed: list[str] = []

    async def spoil() -> None:
        try:
            await broker.put_document("large", b"x" * 100_000, 0)
        except TooLarge as error:
            failed.append(str(error))

    async def surrogate() -> None:
        try:
            await broker.enqueue([make_job("\ud800"), make_job("beside")])
        except UnicodeEncodeError as error:
            failed.append(str(error))

    async with anyio.create_task_group() as group:
        group.start_soon(stored, broker, make_job("before"))
        group.start_soon(spoil)
        group.start_soon(surrogate)
        group.start_soon(stored, broker, make_job("after"))

    assert len(failed) == 2
    names = await look.on(file, "SELECT id FROM job ORDER BY id")
    assert names == [("after",), ("before",)]
    assert look.counted(file) == look.scanned(file)


async def test_a_call_that_is_cancelled_before_it_began_does_nothing(
    file: Path, broker: SqliteBroker
) -> None:
    with locked(file):
        with anyio.move_on_after(0.05):
            await broker.enqueue([make_job("cancelled")])

    await stored(broker, make_job("later"))
    assert await broker.get([ref(make_job("cancelled"))]) == [None]


async def test_a_claim_whose_caller_is_gone_is_found_as_an_orphan_or_did_not_happen(
    file: Path, broker: SqliteBroker, hand: Hand
) -> None:
    jobs = [make_job(f"job-{number}") for number in range(20)]
    await stored(broker, *jobs)
    got: list[str] = []

    async def claim(scope: anyio.CancelScope) -> None:
        with scope:
            got.extend(ids((await broker.claim(hand.session, ["default"], 1)).records))

    async with anyio.create_task_group() as group:
        for number in range(20):
            scope = anyio.CancelScope()
            group.start_soon(claim, scope)
            if number % 2:
                await anyio.lowlevel.checkpoint()
                scope.cancel()

    pulse = await broker.heartbeat(hand.session, [])
    rest = ids(await hand.claim(20))
    assert sorted({*ids(pulse.orphans), *rest}) == sorted(job.id for job in jobs)
    assert set(got) <= set(ids(pulse.orphans))


async def test_without_sockets_a_waiting_claim_looks_often(file: Path, clock: MovableClock) -> None:
    await anyio.Path(f"{file}.wake").touch()  # so there can be no directory
    got: list[str] = []

    async with SqliteBroker(parse(f"sqlite:///{file}"), clock) as broker:
        broker.fallback_seconds = 0.01
        hand = await Hand.open(broker)

        async def claim() -> None:
            got.extend(ids(await hand.claim(1, wait_ms=3_600_000)))

        with anyio.fail_after(300):
            async with anyio.create_task_group() as group, broker.another() as other:
                group.start_soon(claim)
                await stored(other, make_job("a"))

    assert got == ["a"]


async def test_durability_is_read_from_the_live_connection(
    file: Path, clock: MovableClock, broker: SqliteBroker, hand: Hand
) -> None:
    await broker.claim(hand.session, ["default"], 1)
    url = parse(f"sqlite:///{file}?durability=process")
    async with SqliteBroker(url, clock) as quick:
        weaker = await quick.describe()

    described = await broker.describe()

    assert described.durability is Durability.POWER_LOSS
    assert weaker.durability is Durability.PROCESS
    detail = dict(described.detail)
    assert detail["journal_mode"] == "wal"
    assert detail["synchronous"] == "2"
    assert int(detail["file size"]) > 0
    assert described.version.startswith("SQLite 3.")
    assert described.warnings == ()


async def test_ten_brokers_that_start_together_make_one_schema(
    file: Path, clock: MovableClock
) -> None:
    async def start(number: int) -> None:
        async with SqliteBroker(parse(f"sqlite:///{file}"), clock) as broker:
            await stored(broker, make_job(f"job-{number}"))

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(start, number)

    assert await look.on(file, "SELECT count(*) FROM job") == [(10,)]


async def test_purging_gives_pages_back_to_the_system(
    file: Path, clock: MovableClock, broker: SqliteBroker, hand: Hand
) -> None:
    payload = b'"%s"' % (b"x" * 3_000)
    jobs = [make_job(payload=payload) for _ in range(3_000)]
    await stored(broker, *jobs)
    for _ in range(3):
        await broker.apply([look.success(record) for record in await hand.claim(1_000)])
    before = await look.on(file, "PRAGMA page_count")

    clock.advance(7_200_000)
    for _ in range(4):
        await broker.purge(1_000)

    after = await look.on(file, "PRAGMA page_count")
    assert int(str(after[0][0])) < int(str(before[0][0])) / 2
    assert look.counted(file) == look.scanned(file) == {"default": (0, 0, 0, 0, 0, 0)}
    assert isinstance((await broker.enqueue([make_job()])).results[0], Applied)
