"""What a process leaves on its machine when it ends: the next one starts with it, if it can be used."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from treadle_nats import NatsBroker
from treadle_nats.address import locate
from treadle_nats.link import Link
from treadle_nats.streams import Standing, cut

from treadle.broker.url import parse
from treadle.broker.values import Filter
from treadle.conformance.hand import make_job, stored
from treadle.runtime.clock import SystemClock

pytestmark = pytest.mark.anyio

Stands = Callable[[NatsBroker], Awaitable[Standing]]
PAYLOAD = b'{"x":"' + b"x" * 4_000 + b'"}'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder in which temporary files are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def url(server: Any, namespace: str) -> str:
    """Return the URL of a namespace of the test's own."""
    return f"{server.url}?namespace={namespace}"


def _left(here: Path) -> list[Path]:
    return sorted(path for path in here.glob("treadle-nats-*/*") if path.is_file())


@asynccontextmanager
async def _process(url: str) -> AsyncGenerator[NatsBroker]:
    """Connect as a process does that has no other broker of this namespace."""
    async with NatsBroker(parse(url), SystemClock()) as broker:
        yield broker


async def _store(broker: NatsBroker, first: int, count: int = 400) -> None:
    await stored(broker, *(make_job(f"job-{first + n:04}", payload=PAYLOAD) for n in range(count)))


async def _ids(broker: NatsBroker) -> list[str]:
    page = await broker.find(Filter(), limit=1_000)
    return sorted(record.job.id for record in page.records)


async def _forget_log(broker: NatsBroker, standing: Stands) -> None:
    """Take everything but its last message from the log, so that it alone tells nothing."""
    last = (await standing(broker)).last
    link = Link(locate(broker.url), lambda: None)
    await link.connect()
    await cut(link, link.address.stream, last)
    await link.close()


async def test_the_next_process_begins_with_the_tables_of_the_one_before(
    url: str, here: Path, standing: Stands
) -> None:
    async with _process(url) as first:
        await _store(first, 0)
    (left,) = _left(here)
    await _forget_log(first, standing)

    async with _process(url) as second:
        assert len(await _ids(second)) == 400
        assert _left(here) == []
    assert _left(here) == [left]
    assert left.stat().st_mode & 0o077 == 0


async def test_what_happened_since_is_read_from_the_log(url: str, here: Path) -> None:
    async with _process(url) as first:
        await _store(first, 0)
    async with _process(f"{url}&leave=no") as elsewhere:
        await _store(elsewhere, 400, 10)
    assert len(_left(here)) == 1

    async with _process(url) as third:
        assert _left(here) == []
        assert len(await _ids(third)) == 410


async def test_two_processes_that_start_do_not_share_tables(
    url: str, beside: Callable[[NatsBroker], NatsBroker], here: Path
) -> None:
    async with _process(url) as first:
        await _store(first, 0)
    assert len(_left(here)) == 1

    async with _process(url) as second, beside(second) as third:
        await _store(second, 400, 10)
        assert await _ids(second) == await _ids(third)


async def test_tables_of_a_log_that_was_set_back_are_not_used(
    make_server: Callable[..., Any], here: Path
) -> None:
    """As after a power cut: another message stands where the last one of the tables stood."""
    server, saved = make_server(), here / "saved"
    async with _process(f"{server.url}?leave=no") as first:
        await _store(first, 0)
    server.stop()
    shutil.copytree(server.folder, saved)
    server.start()
    async with _process(server.url) as second:
        await _store(second, 400, 10)
    assert len(_left(here)) == 1
    server.stop()
    shutil.rmtree(server.folder)
    shutil.copytree(saved, server.folder)
    server.start()
    async with _process(f"{server.url}?leave=no") as third:
        await _store(third, 800, 10)

    async with _process(server.url) as fourth:
        assert _left(here) == []
        assert (await _ids(fourth))[400:] == [f"job-{n:04}" for n in range(800, 810)]


async def test_tables_that_the_log_does_not_reach_any_more_are_not_used(
    url: str, here: Path
) -> None:
    async with _process(url) as first:
        await _store(first, 0)
        await first.erase()
        await _store(first, 0)
    async with _process(url) as second:
        await second.erase()
        await _store(second, 0, 1)

    async with _process(url) as third:
        assert await _ids(third) == ["job-0000"]


async def test_tables_of_an_earlier_boot_are_not_used(
    url: str, here: Path, standing: Stands
) -> None:
    async with _process(url) as first:
        await _store(first, 0)
    (left,) = _left(here)
    log, boot, rest = _named(left)
    old = left.rename(left.with_name(f"{log}.{'0' * len(boot)}.{rest}"))

    async with _process(url) as second:
        assert len(await _ids(second)) == 400
        assert old.exists()
    assert _left(here) == [left]


def _named(left: Path) -> tuple[str, str, str]:
    log, boot, seq, at = left.name.rsplit(".", 3)
    return log, boot, f"{seq}.{at}"


async def test_bytes_that_are_no_tables_are_passed_over(url: str, here: Path) -> None:
    async with _process(url) as first:
        await _store(first, 0)
    (left,) = _left(here)
    left.write_bytes(b"no tables " * 1_000)

    async with _process(url) as second:
        assert len(await _ids(second)) == 400
    assert _left(here) == [left]
    assert left.stat().st_size > 1_000_000


async def test_nothing_is_left_where_others_could_look(url: str, here: Path) -> None:
    async with _process(url) as first:
        await _store(first, 0)
    (left,) = _left(here)
    left.unlink()
    left.parent.chmod(0o755)

    async with _process(url) as second:
        assert len(await _ids(second)) == 400
    assert _left(here) == []


async def test_who_says_so_leaves_nothing(url: str, here: Path) -> None:
    async with _process(f"{url}&leave=no") as first:
        await _store(first, 0)

    assert _left(here) == []
    async with _process(url):
        pass
    async with _process(f"{url}&leave=no") as third:
        assert len(await _ids(third)) == 400
        assert len(_left(here)) == 1


async def test_who_erases_a_namespace_removes_what_was_left_of_it(url: str, here: Path) -> None:
    async with _process(f"{url}-other") as other:
        await _store(other, 0)
    async with _process(url) as first:
        await _store(first, 0)
    assert len(_left(here)) == 2

    async with _process(f"{url}&leave=no") as second:
        await second.erase()

    assert [path.name.count("-other.") for path in _left(here)] == [1]
    async with _process(f"{url}-other") as other:
        await other.erase()
    assert _left(here) == []


async def test_small_tables_are_not_left(url: str, here: Path) -> None:
    async with _process(url) as first:
        await _store(first, 0, 1)

    assert _left(here) == []


async def test_nothing_is_left_where_room_is_short(
    url: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(_path: object) -> SimpleNamespace:
        return SimpleNamespace(f_frsize=1024, f_bavail=4 * 1024)

    async with _process(url) as first:
        await _store(first, 0)
        monkeypatch.setattr(os, "statvfs", look)

    assert _left(here) == []
