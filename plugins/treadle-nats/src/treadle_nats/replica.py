"""The tables that a process keeps of the log: the same in every process that has read as far.

They lie in a database of SQLite that nobody else can open and that is gone with the process. The tables and
what is done to them are those of the SQLite broker, so that both come to the same answers. They also say
which message was read last, so that a copy of them does.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct

from treadle.broker.sqlite.bulk import store_plain
from treadle.broker.sqlite.connection import Connection
from treadle.broker.sqlite.enqueue import stored_results
from treadle.broker.sqlite.migrate import migrate
from treadle.broker.sqlite.transaction import Effects, Transaction
from treadle.broker.values import Enqueued
from treadle.domain.job import Job
from treadle.domain.limits import RAW_BYTES
from treadle.errors import BrokerUnavailable
from treadle_nats import private
from treadle_nats.commands import Command, Enqueue

_SETTINGS: Final = "PRAGMA cache_size = -8192; PRAGMA foreign_keys = OFF;"
_TABLES: Final = """
    CREATE TABLE IF NOT EXISTS nats_part (
        writer TEXT NOT NULL, frame INTEGER NOT NULL, part INTEGER NOT NULL, at INTEGER NOT NULL,
        data BLOB NOT NULL, PRIMARY KEY (writer, frame, part)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS nats_read (seq INTEGER NOT NULL);
    INSERT INTO nats_read SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM nats_read);
"""
_PARTS_KEPT_MS: Final = 600_000
"""The rest of a frame comes within seconds, or never."""


class Failed(Struct, frozen=True):
    """The answer of a command that raised."""

    error: Exception


class Replica:
    """The tables as they are after the last message that was read; used by one thread."""

    def __init__(self, raw: sqlite3.Connection | None = None, file: BinaryIO | None = None) -> None:
        """Begin with empty tables, or with those of a private database; `file` has its bytes."""
        if raw is None:
            raw, file = private.make()
        self.file = file
        try:
            private.settle(raw, journal="MEMORY")
            raw.executescript(_SETTINGS)
            migrate(raw, Path("the tables of the log"))
            raw.executescript(_TABLES)
        except BaseException:
            raw.close()
            if file is not None:
                file.close()
            raise
        self.connection = Connection(raw)

    @staticmethod
    def seq_of(raw: sqlite3.Connection) -> int:
        """Return the number of the last message that is in some tables."""
        seq: int = raw.execute("SELECT seq FROM nats_read").fetchone()[0]
        return seq

    @property
    def seq(self) -> int:
        """Return the number of the last message that is in the tables."""
        return self.seq_of(self.connection.raw)

    def close(self) -> None:
        """Let go of the tables."""
        self.connection.close()
        if self.file is not None:
            self.file.close()

    @contextmanager
    def message(self, seq: int) -> Generator[None]:
        """Let all that one message does to the tables be done, or nothing of it.

        Raises:
            BrokerUnavailable: if the tables cannot be written; they are of no use then.
        """
        raw = self.connection.raw
        raw.execute("BEGIN")
        try:
            yield
            raw.execute("UPDATE nats_read SET seq = ?", (seq,))
            raw.execute("COMMIT")
        except BaseException as error:
            with suppress(sqlite3.Error):
                raw.execute("ROLLBACK")
            if not isinstance(error, sqlite3.Error | MemoryError):
                raise
            raise BrokerUnavailable(
                f"the local tables of the log cannot be written ({error}):"
                f" is there room in {tempfile.gettempdir()}?"
            ) from error

    def run(self, commands: Sequence[Command], now: int) -> tuple[list[object], Effects]:
        """Run the commands of one frame at one instant; return the answer of each.

        One that fails leaves no trace. Several that store jobs are run first, and at once if nothing
        speaks against any of them.
        """
        tx = Transaction(self.connection, now)
        answers = self._stored_together(tx, commands)
        for number, command in enumerate(commands):
            if number not in answers:
                answers[number] = self._one(tx, command)
        tx.finish()
        return [answers[number] for number in range(len(commands))], tx.total

    def _stored_together(self, tx: Transaction, commands: Sequence[Command]) -> dict[int, object]:
        batches = {n: one.jobs for n, one in enumerate(commands) if isinstance(one, Enqueue)}
        if len(batches) < 2:
            return {}
        tx.begin()
        try:
            is_stored = store_plain(tx, [job for jobs in batches.values() for job in jobs])
        except (sqlite3.Error, MemoryError):
            raise
        except Exception:  # noqa: BLE001 - it is raised again for the one whose job it was
            is_stored = False
        if not is_stored:
            tx.undo()
            return {}
        tx.keep()
        return {
            n: Enqueued(now=tx.now, results=stored_results(tx, len(jobs)))
            for n, jobs in batches.items()
        }

    def _one(self, tx: Transaction, command: Command) -> object:
        tx.begin()
        try:
            answer = command.run(tx)
        except (sqlite3.Error, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - what one process cannot run no other can
            tx.undo()
            return Failed(error)
        tx.keep()
        return answer

    def add_part(
        self, writer: str, frame: int, part: int, of: int, data: bytes, now: int
    ) -> bytes | None:
        """Keep a part of a frame; return the whole of it once nothing is missing."""
        rows = self.connection.rows
        rows("DELETE FROM nats_part WHERE at < ?", (now - _PARTS_KEPT_MS,))
        rows(
            "INSERT OR REPLACE INTO nats_part VALUES (?, ?, ?, ?, ?)",
            (writer, frame, part, now, data),
        )
        whole = "FROM nats_part WHERE writer = ? AND frame = ?"
        (count,) = rows(f"SELECT count(*) {whole}", (writer, frame))[0]
        if count < of:
            return None
        found = rows(f"SELECT data {whole} ORDER BY part", (writer, frame))
        rows(f"DELETE {whole}", (writer, frame))
        return b"".join(piece for (piece,) in found)

    def keep_foreign(self, seq: int, data: bytes, now: int) -> Effects:
        """Keep bytes that are no frame as a job that nobody can read: a worker buries it, to be listed."""
        job = Job(id=f"foreign:{seq}", type="foreign")
        _, effects = self.run([Enqueue((job,))], now)
        self.connection.run(
            "UPDATE spec SET body = ? WHERE seq = (SELECT seq FROM job WHERE id = ?)",
            (b"\0" + data[:RAW_BYTES], job.id),
        )
        return effects

    def view(self, now: int) -> Transaction:
        """Return what operations that only look ask for."""
        return Transaction(self.connection, now)
