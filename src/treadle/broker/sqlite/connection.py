"""Opening the file: checks, settings, and a connection that bad text cannot break."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from treadle.broker.sqlite.location import Location, refuse_network
from treadle.broker.sqlite.migrate import migrate, refuse_foreign
from treadle.broker.sqlite.names import Names
from treadle.broker.sqlite.trouble import is_undecodable
from treadle.broker.values import Durability
from treadle.domain.codec import Codec
from treadle.domain.job import Fault, Job, Policy, Priority
from treadle.errors import BrokerRefused

OLDEST = (3, 35, 0)
"""RETURNING came with 3.35."""

_LONGEST_SHARED, _MOST_SHARED = 1_024, 1_024
_PRIORITIES: tuple[Priority, ...] = tuple(Priority)

Row = tuple[Any, ...]
Parameters = Sequence[object] | Mapping[str, object]

# The caches are small: the system caches the file as well, and larger ones were not faster.
_SETTINGS = """
    PRAGMA cache_size = -{kib};
    PRAGMA temp_store = MEMORY;
    PRAGMA wal_autocheckpoint = 10000;
    PRAGMA journal_size_limit = 67108864;
    PRAGMA foreign_keys = OFF;
"""


class Connection:
    """One SQLite connection with what it remembers; used by one thread at a time."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.raw = raw
        self.names = Names(self.rows)
        self.codec = Codec()
        self._shared: dict[bytes, tuple[str, Policy]] = {}
        self.level = -1
        """The value of PRAGMA synchronous that was set last; -1 = not known."""

    def job(
        self, queue: str, id: str, priority: int, body: bytes, payload: bytes
    ) -> tuple[Job, Fault | None]:
        """Put a job together. Bodies that say nothing but type and policy are shared, and remembered."""
        known = self._shared.get(body)
        if known is not None:
            name, policy = known
            shown = Job(
                id=id,
                type=name,
                payload=payload,
                queue=queue,
                priority=_PRIORITIES[priority],
                policy=policy,
            )
            return shown, None
        job, fault = self.codec.job(
            queue=queue, id=id, priority=_PRIORITIES[priority], body=body, payload=payload
        )
        if (
            fault is None
            and len(body) <= _LONGEST_SHARED
            and job
            == Job(
                id=id,
                type=job.type,
                payload=payload,
                queue=queue,
                priority=job.priority,
                policy=job.policy,
            )
        ):
            if len(self._shared) >= _MOST_SHARED:
                self._shared.clear()
            self._shared[body] = (job.type, job.policy)
        return job, fault

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Run a statement and return all its rows; text that is no UTF-8 is mended, not raised."""
        try:
            return self.raw.execute(sql, parameters).fetchall()
        except sqlite3.OperationalError as error:
            if not is_undecodable(error):
                raise
        self.raw.text_factory = _mend
        try:
            return self.raw.execute(sql, parameters).fetchall()
        finally:
            self.raw.text_factory = str

    def one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        """Run a statement and return its first row."""
        rows = self.rows(sql, parameters)
        return rows[0] if rows else None

    def run(self, sql: str, parameters: Parameters = ()) -> int:
        """Run a statement and return how many rows it changed."""
        return self.raw.execute(sql, parameters).rowcount

    def many(self, sql: str, parameters: Sequence[Sequence[object]]) -> int:
        """Run a statement once for each set of parameters; return how many rows all changed."""
        return self.raw.executemany(sql, parameters).rowcount

    def set_level(self, level: int) -> None:
        """Set PRAGMA synchronous (1 = NORMAL, 2 = FULL) for the transactions to come."""
        if self.level != level:
            self.raw.execute(f"PRAGMA synchronous = {level}")
            self.level = level

    def close(self) -> None:
        """Close it; the last one of a file also checkpoints."""
        self.raw.close()


def open_writer(location: Location) -> Connection:
    """Open the file for writing; create and migrate it as needed. The side lock must be held.

    Raises:
        BrokerRefused: if the file must not be used.
        sqlite3.Error: if SQLite cannot.
        OSError: if the system does not let us.
    """
    _refuse_old()
    refuse_network(location)
    _create(location)
    raw = _connect(location)
    try:
        refuse_foreign(raw, location.file)
        _prepare(raw, location)
        migrate(raw, location.file)
    except BaseException:
        raw.close()
        raise
    return Connection(raw)


def open_reader(location: Location) -> Connection:
    """Open an existing file for reading only.

    Raises:
        sqlite3.Error: if SQLite cannot.
    """
    raw = _connect(location)
    try:
        raw.executescript(_SETTINGS.format(kib=2_048) + "PRAGMA query_only = ON;")
    except BaseException:
        raw.close()
        raise
    return Connection(raw)


def prepare_directory(location: Location) -> None:
    """Create the directory of the file if it is missing: for this user only.

    Raises:
        OSError: if the system does not let us.
    """
    directory = location.file.parent
    if not directory.is_dir():
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)


def _refuse_old() -> None:
    if sqlite3.sqlite_version_info < OLDEST:
        raise BrokerRefused(
            f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed."
            " Use a Python that is linked with a newer one"
        )


def _create(location: Location) -> None:
    """Create the file readable for this user only; one that exists is not touched.

    Closing a file that SQLite holds open would drop its locks, so an existing one is never opened here.
    """
    try:
        file = os.open(location.file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    os.close(file)


def _connect(location: Location) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{location.file.as_uri()}?mode=rw",
        uri=True,
        timeout=location.busy_ms / 1_000,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )


def _prepare(raw: sqlite3.Connection, location: Location) -> None:
    raw.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts only before the first table
    with closing(raw.execute("PRAGMA journal_mode = WAL")) as cursor:
        mode = cursor.fetchone()[0]
    if mode != "wal":
        raise BrokerRefused(
            f"{location.file} cannot use a write-ahead log (journal mode {mode!r}): is it on a local disk?"
        )
    raw.executescript(_SETTINGS.format(kib=4_096))
    if location.max_pages:
        raw.execute(f"PRAGMA max_page_count = {location.max_pages}")
    if sys.platform == "darwin" and location.durability is Durability.POWER_LOSS:
        raw.execute("PRAGMA fullfsync = ON")  # pragma: no cover - not on Linux


def _mend(text: bytes) -> str:
    return text.decode("utf-8", "replace")
