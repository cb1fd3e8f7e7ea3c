"""The raw loops: what the store alone can do, without any job queue around it.

Each does the least that a queue must do on that store: keep a payload, hand out a hundred rows,
settle a hundred with a result, durably and in one transaction. Nothing of Treadle is used.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import Protocol

from treadle.broker.url import BrokerUrl
from treadle.cli.bench.raw_servers import RawNats, RawRedis

BATCH = 100
_MANY = 1_000
_PAYLOAD = b"x" * 220
_RESULT = b'"done"'


class Raw(Protocol):
    """What a raw loop measures; each call answers in jobs per second."""

    def enqueue(self, jobs: int) -> float | None:
        """Store jobs, a hundred a call."""
        ...

    def enqueue_many(self, jobs: int) -> float | None:
        """Store jobs, a thousand a call."""
        ...

    def drain(self, jobs: int) -> float | None:
        """Settle and claim jobs, a hundred a call, until none is left."""
        ...


class RawMemory:
    """A deque and a dict."""

    def enqueue(self, jobs: int) -> float:
        """Append one at a time."""
        waiting: deque[tuple[int, bytes]] = deque()
        began = time.perf_counter()
        for number in range(jobs):
            waiting.append((number, _PAYLOAD))
        return jobs / (time.perf_counter() - began)

    def enqueue_many(self, jobs: int) -> float:
        """Extend by a thousand at a time."""
        waiting: deque[tuple[int, bytes]] = deque()
        began = time.perf_counter()
        for start in range(0, jobs, _MANY):
            waiting.extend((number, _PAYLOAD) for number in range(start, min(start + _MANY, jobs)))
        return jobs / (time.perf_counter() - began)

    def drain(self, jobs: int) -> float:
        """Move jobs from the deque to a dict of running ones, and on to one of results."""
        waiting = deque((number, _PAYLOAD) for number in range(jobs))
        running: dict[int, bytes] = {}
        results: dict[int, bytes] = {}
        began = time.perf_counter()
        while waiting:
            for number in running:
                results[number] = _RESULT
            running = dict(waiting.popleft() for _ in range(min(BATCH, len(waiting))))
        results.update(dict.fromkeys(running, _RESULT))
        return len(results) / (time.perf_counter() - began)


_SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE job (id INTEGER PRIMARY KEY, state INTEGER NOT NULL, payload BLOB, result BLOB);
CREATE INDEX waiting ON job (id) WHERE state = 1;
"""
_INSERT = "INSERT INTO job (id, state, payload) VALUES (?, 1, ?)"
_SETTLE = "UPDATE job SET state = 3, result = ? WHERE id = ? AND state = 2"
_CLAIM = """
UPDATE job SET state = 2
WHERE id IN (SELECT id FROM job WHERE state = 1 ORDER BY id LIMIT ?) RETURNING id, payload
"""


class RawSqlite:
    """sqlite3 with a table of four columns, in the folder of the store that is measured."""

    def __init__(self, folder: Path, synchronous: str) -> None:
        self._folder = folder
        self._synchronous = synchronous

    def enqueue(self, jobs: int) -> float:
        """Insert a hundred rows a transaction."""
        return self._insert(jobs, BATCH)

    def enqueue_many(self, jobs: int) -> float:
        """Insert a thousand rows a transaction."""
        return self._insert(jobs, _MANY)

    def drain(self, jobs: int) -> float:
        """Settle a hundred rows and claim the next hundred, in one transaction."""
        with self._database() as database:
            self._fill(database, jobs, _MANY)
            claimed: list[tuple[int, bytes]] = []
            done = 0
            began = time.perf_counter()
            while True:
                database.execute("BEGIN IMMEDIATE")
                database.executemany(_SETTLE, [(_RESULT, number) for number, _ in claimed])
                done += len(claimed)
                claimed = database.execute(_CLAIM, (BATCH,)).fetchall()
                database.execute("COMMIT")
                if not claimed:
                    return done / (time.perf_counter() - began)

    def _insert(self, jobs: int, size: int) -> float:
        with self._database() as database:
            began = time.perf_counter()
            self._fill(database, jobs, size)
            return jobs / (time.perf_counter() - began)

    def _fill(self, database: sqlite3.Connection, jobs: int, size: int) -> None:
        for start in range(0, jobs, size):
            rows = [(number, _PAYLOAD) for number in range(start, min(start + size, jobs))]
            database.execute("BEGIN IMMEDIATE")
            database.executemany(_INSERT, rows)
            database.execute("COMMIT")

    def _database(self) -> closing[sqlite3.Connection]:
        path = self._folder / "raw.db"
        for old in self._folder.glob("raw.db*"):
            old.unlink()
        database = sqlite3.connect(path, isolation_level=None)
        database.executescript(_SCHEMA)
        database.execute(f"PRAGMA synchronous = {self._synchronous}")
        return closing(database)


class NoRaw:
    """For a store that has no raw loop here: nothing is told beside the figures."""

    def enqueue(self, jobs: int) -> None:
        """Measure nothing."""

    def enqueue_many(self, jobs: int) -> None:
        """Measure nothing."""

    def drain(self, jobs: int) -> None:
        """Measure nothing."""


def raw_for(url: BrokerUrl, folder: Path) -> Raw:
    """Return the raw loop of a broker; `folder` is where an SQLite file may lie."""
    match url.scheme:
        case "memory":
            return RawMemory()
        case "sqlite":
            lazy = url.options.get("durability") == "process"
            return RawSqlite(folder, "NORMAL" if lazy else "FULL")
        case "redis" | "valkey":
            return RawRedis(url)
        case "nats":
            return RawNats(url)
        case _:
            return NoRaw()
