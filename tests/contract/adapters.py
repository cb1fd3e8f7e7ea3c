"""The brokers that the contract is held against, and what each of them can do for a test.

A test never asks which broker it has. It asks for a capability, or for an ability of the adapter.
"""

from __future__ import annotations

import contextlib
import importlib
import sqlite3
from collections import deque
from pathlib import Path
from types import ModuleType
from typing import Protocol, cast

import anyio.to_thread

from treadle.broker.base import Broker
from treadle.broker.memory import MemoryBroker
from treadle.broker.memory.table import Table
from treadle.broker.url import parse
from treadle.conformance.clock import MovableClock
from treadle.domain.codec import Codec
from treadle.domain.job import Ref


class Adapter(Protocol):
    """How to make one broker, on a fresh store."""

    @property
    def name(self) -> str:
        """Return the word that stands in the ids of the tests."""
        ...

    @property
    def backends(self) -> tuple[str, ...]:
        """Return the event loops that the broker runs on."""
        ...

    def make(self, folder: Path, clock: MovableClock) -> Broker:
        """Make an unconnected broker on a store of its own."""
        ...

    async def spoil(self, broker: Broker, ref: Ref, body: bytes) -> None:
        """Overwrite the stored body of a waiting job, as a bug or another version would."""
        ...

    async def size(self, broker: Broker) -> int:
        """Count everything that is stored for jobs and sessions; the event log is left aside."""
        ...


class _Memory:
    name = "memory"
    backends = ("asyncio", "trio")

    def make(self, folder: Path, clock: MovableClock) -> Broker:  # noqa: ARG002 # it has no files
        return MemoryBroker(parse("memory://"), clock)

    async def spoil(self, broker: Broker, ref: Ref, body: bytes) -> None:
        row = _table(broker).row(ref.queue, ref.id)
        assert row is not None
        row.job, row.fault = Codec().job(
            queue=ref.queue,
            id=ref.id,
            priority=row.job.priority,
            body=body,
            payload=row.job.payload,
        )

    async def size(self, broker: Broker) -> int:
        table = _table(broker)
        return _entries(table, {id(table.log)})


def _table(broker: Broker) -> Table:
    assert isinstance(broker, MemoryBroker)
    return broker._store._table  # pyright: ignore[reportPrivateUsage] # nothing public shows it


def _entries(value: object, seen: set[int]) -> int:
    """Count the entries of all containers that can be reached from an object."""
    if id(value) in seen or isinstance(value, str | bytes | int | None):
        return 0
    seen.add(id(value))
    inside: list[object] = []
    count = 0
    if isinstance(value, dict):
        inside = list(cast("dict[object, object]", value).values())
        count = len(inside)
    elif isinstance(value, list | tuple | set | deque):
        inside = list(cast("list[object]", value))
        count = len(inside)
    elif type(value).__module__.startswith("treadle.broker.memory"):
        names = [*getattr(type(value), "__slots__", ()), *getattr(value, "__dict__", ())]
        names += getattr(type(value), "__struct_fields__", ())
        inside = [getattr(value, name) for name in names]
    return count + sum(_entries(each, seen) for each in inside)


class _Sqlite:
    name = "sqlite"
    backends = ("asyncio", "trio")

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def make(self, folder: Path, clock: MovableClock) -> Broker:
        broker: Broker = self._module.treadle_broker(parse(f"sqlite:///{folder}/jobs.db"), clock)
        return broker

    async def spoil(self, broker: Broker, ref: Ref, body: bytes) -> None:
        statement = """
            UPDATE spec SET body = ? WHERE seq = (
                SELECT seq FROM job
                WHERE id = ? AND queue = (SELECT id FROM queue WHERE name = ?))
            """
        assert await _on_file(broker, [(statement, (body, ref.id, ref.queue))]) == [1]

    async def size(self, broker: Broker) -> int:
        tables = ("job", "spec", "history", "edge", "ukey", "progress", "step", "line", "session")
        return sum(await _on_file(broker, [(f"SELECT count(*) FROM {t}", ()) for t in tables]))  # noqa: S608 # names of ours


async def _on_file(broker: Broker, statements: list[tuple[str, tuple[object, ...]]]) -> list[int]:
    """Run statements on the file of a broker; return how many rows each counted or changed."""

    def run() -> list[int]:
        with (
            contextlib.closing(sqlite3.connect(broker.url.path, timeout=300)) as connection,
            connection,
        ):
            cursors = [connection.execute(text, values) for text, values in statements]
            rows = [cursor.fetchone() for cursor in cursors]
            return [row[0] if row else c.rowcount for c, row in zip(cursors, rows, strict=True)]

    return await anyio.to_thread.run_sync(run)


def adapters() -> list[Adapter]:
    """Return an adapter for each broker that is there."""
    found: list[Adapter] = [_Memory()]
    with contextlib.suppress(ImportError):
        module = importlib.import_module("treadle.broker.sqlite")
        if hasattr(module, "treadle_broker"):
            found.append(_Sqlite(module))
    return found
