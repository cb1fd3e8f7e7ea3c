"""Nothing stays behind in a good store; what stays in a bad one is named."""

# ruff: noqa: ARG002, ARG005 - a bad broker ignores what it is asked.

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import anyio.to_thread
import pytest

from tests.contract.adapters import adapters
from treadle.broker.base import Broker, Document, SessionInfo
from treadle.broker.memory import MemoryBroker
from treadle.broker.url import parse
from treadle.conformance.leaks import LeakReport, Size, run
from treadle.conformance.subject import Subject
from treadle.domain.job import Record, Ref

pytestmark = pytest.mark.anyio


class _KeepsRecords(MemoryBroker):
    async def purge(self, limit: int) -> int:
        return 0


class _KeepsSessions(MemoryBroker):
    async def close(self, session: str) -> None:
        return


class _KeepsDocuments(MemoryBroker):
    async def put_document(self, name: str, data: bytes | None, version: int) -> Document | None:
        return await super().put_document(name, data or b"", version)


class _KeepsLimits(MemoryBroker):
    async def set_queue_limit(self, queue: str, waiting: int | None) -> None:
        if waiting is not None:
            await super().set_queue_limit(queue, waiting)


class _ForgetsTooSoon(MemoryBroker):
    async def get(self, refs: Sequence[Ref]) -> Sequence[Record | None]:
        found = await super().get(refs)
        return [None if one is not None and one.forgotten else one for one in found]


class _Raises(MemoryBroker):
    async def sessions(self) -> Sequence[SessionInfo]:
        raise ZeroDivisionError("no driver error may escape")


class _NeverStopsPurging(MemoryBroker):
    async def purge(self, limit: int) -> int:
        await super().purge(limit)
        return 1


async def of(kind: type[MemoryBroker]) -> LeakReport:
    """Look for leaks of a bad broker."""
    return await run(Subject("bad://", make=lambda url, clock: kind(parse("memory://"), clock)))


async def rows(broker: Broker) -> int:
    """Count the rows of all tables of an SQLite broker but those of its event log."""

    def count() -> int:
        (path,) = Path(broker.url.path).parent.glob(f"*.{broker.url.namespace}.db")
        with contextlib.closing(sqlite3.connect(path, timeout=300)) as connection:
            found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
            names = [name for (name,) in found if not re.match(r"sqlite_|event", name)]
            counts = [connection.execute(f"SELECT count(*) FROM {n}") for n in names]  # noqa: S608 # names of ours
            return sum(int(cursor.fetchone()[0]) for cursor in counts)

    return await anyio.to_thread.run_sync(count)


async def entries(broker: Broker) -> int:
    """Count everything that can be reached inside a memory broker but its event log."""
    memory, *_ = adapters()
    return await memory.size(broker)


@pytest.mark.promise(12)
@pytest.mark.parametrize(("scheme", "size"), [("memory", entries), ("sqlite", rows)])
async def test_a_store_is_as_large_as_before_when_everything_is_forgotten(
    scheme: str, size: Size, tmp_path: Path
) -> None:
    url = "memory://" if scheme == "memory" else f"sqlite:///{tmp_path}/jobs.db"

    report = await run(Subject(url), size=size, rounds=3)

    assert report.passed, str(report)
    assert report.jobs == 3 * 17
    assert len(set(report.sizes)) == 1
    assert str(report).startswith("51 jobs came and went, sizes ")


@pytest.mark.promise(12)
async def test_a_store_whose_time_cannot_be_moved_is_really_waited_for() -> None:
    report = await run(Subject("memory://", movable=False), rounds=1)

    assert report.passed, str(report)
    assert report.took_s > 3


@pytest.mark.parametrize(
    ("kind", "leak"),
    [
        (_KeepsRecords, "kept beyond its retention: follow-up-0, parent-0, dead-0, "),
        (_KeepsSessions, "sessions: leaks"),
        (_KeepsDocuments, "documents: leaks/one"),
        (_KeepsLimits, "limits: ('queue', 'leaks', 1000)"),
        (_ForgetsTooSoon, "not remembered: follow-up-0"),
        (_Raises, "ZeroDivisionError: no driver error may escape"),
        (_NeverStopsPurging, "purge still drops records after 1000 calls"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_what_a_bad_store_keeps_is_named(kind: type[MemoryBroker], leak: str) -> None:
    report = await of(kind)

    assert not report.passed
    assert leak in str(report)


async def test_a_store_that_grows_from_round_to_round_is_told_so() -> None:
    counted = iter([10, 11])

    async def size(_: object) -> int:
        return next(counted)

    report = await run(Subject("memory://"), size=size)

    assert report.leaks == ("the store holds 11 things, and held 10 a round before",)
