"""The tables that a process keeps of the log: the same in every process that has read as far.

They lie in a private database of SQLite that nobody else can open and that is gone with the process; what it
does not hold in memory it keeps in a temporary file. The tables and what is done to them are those of
the SQLite broker, so that both come to the same answers.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from treadle.broker.sqlite.bulk import store_plain
from treadle.broker.sqlite.connection import Connection
from treadle.broker.sqlite.enqueue import stored_results
from treadle.broker.sqlite.migrate import migrate
from treadle.broker.sqlite.transaction import Effects, Transaction
from treadle.broker.values import Enqueued
from treadle.domain.job import Job
from treadle.domain.limits import RAW_BYTES
from treadle.errors import BrokerUnavailable, TreadleError
from treadle_nats.commands import Command, Enqueue

_SETTINGS: Final = """
    PRAGMA cache_size = -8192;
    PRAGMA temp_store = FILE;
    PRAGMA journal_mode = MEMORY;
    PRAGMA synchronous = OFF;
    PRAGMA foreign_keys = OFF;
"""
_PARTS: Final = """
    CREATE TABLE IF NOT EXISTS nats_part (
        writer TEXT NOT NULL, frame INTEGER NOT NULL, part INTEGER NOT NULL, at INTEGER NOT NULL,
        data BLOB NOT NULL, PRIMARY KEY (writer, frame, part)
    ) WITHOUT ROWID
"""
_PARTS_KEPT_MS: Final = 600_000
"""The rest of a frame comes within seconds, or never."""


class Failed(Struct, frozen=True):
    """The answer of a command that raised."""

    error: Exception


class Replica:
    """The tables as they are after the last message that was read; used by one thread."""

    def __init__(self, file: Path | None = None) -> None:
        """Begin with empty tables, or with those of a snapshot (its file is not kept)."""
        raw = sqlite3.connect(
            "" if file is None else str(file),
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            raw.executescript(_SETTINGS)
            migrate(raw, file or Path("the tables of the log"))
            raw.execute(_PARTS)
        except BaseException:
            raw.close()
            raise
        if file is not None:
            file.unlink()  # the system keeps it until it is closed
        self.connection = Connection(raw)
        self.now = 0
        """The instant of the last message."""

    def close(self) -> None:
        """Let go of the tables."""
        self.connection.close()

    def run(self, commands: Sequence[Command], now: int) -> tuple[list[object], Effects]:
        """Run the commands of one frame at one instant; return the answer of each.

        One that fails leaves no trace. Several that store jobs are run first, and at once if nothing
        speaks against any of them.

        Raises:
            BrokerUnavailable: if the tables cannot be written; they are of no use then.
        """
        self.now = now
        raw = self.connection.raw
        raw.execute("BEGIN")
        try:
            tx = Transaction(self.connection, now)
            answers = self._stored_together(tx, commands)
            for number, command in enumerate(commands):
                if number not in answers:
                    answers[number] = self._one(tx, command)
            tx.finish()
            raw.execute("COMMIT")
        except (sqlite3.Error, MemoryError) as error:
            with suppress(sqlite3.Error):
                raw.execute("ROLLBACK")
            raise BrokerUnavailable(
                f"the local tables of the log cannot be written ({error}):"
                f" is there room in {tempfile.gettempdir()}?"
            ) from error
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
        except TreadleError as error:
            tx.undo()
            return Failed(error)
        except Exception as error:  # noqa: BLE001 - what one process cannot run no other can
            tx.undo()
            return Failed(error)
        tx.keep()
        return answer

    def add_part(self, writer: str, frame: int, part: int, of: int, data: bytes) -> bytes | None:
        """Keep a part of a frame; return the whole of it once nothing is missing."""
        rows = self.connection.rows
        rows("DELETE FROM nats_part WHERE at < ?", (self.now - _PARTS_KEPT_MS,))
        rows(
            "INSERT OR REPLACE INTO nats_part VALUES (?, ?, ?, ?, ?)",
            (writer, frame, part, self.now, data),
        )
        found = rows(
            "SELECT data FROM nats_part WHERE writer = ? AND frame = ? ORDER BY part",
            (writer, frame),
        )
        if len(found) < of:
            return None
        rows("DELETE FROM nats_part WHERE writer = ? AND frame = ?", (writer, frame))
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

    def dump(self, file: Path) -> None:
        """Write the tables into a new database file."""
        self.connection.raw.execute("VACUUM INTO ?", (str(file),))
