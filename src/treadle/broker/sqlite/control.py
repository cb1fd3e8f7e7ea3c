"""Pauses, limits, documents and counts."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.broker.sqlite import slots
from treadle.broker.sqlite.connection import Connection, Row
from treadle.broker.sqlite.rows import EARLIEST, shown_due
from treadle.broker.sqlite.statements import load
from treadle.broker.sqlite.transaction import Transaction
from treadle.broker.values import Document, QueueStats, Stats
from treadle.errors import TooLarge

_SQL = load("control")
_DOCUMENT_BYTES = 64 * 1024
_COUNTED = 100_000
"""Timers are counted up to here; beyond that the count is an estimate."""


def pause(tx: Transaction, queue: str, *, paused: bool) -> None:
    """Stop or resume claims of a queue."""
    tx.run(_SQL["pause"], (int(paused), tx.names.queue(queue)))
    tx.effects.rung.add(queue)


def set_limit(tx: Transaction, key: str, running: int | None) -> None:
    """Set or lift the limit of a concurrency key, and let in who has room now."""
    if running is None:
        tx.run(_SQL["lift_limit"], (key,))
    else:
        tx.run(_SQL["set_limit"], (key, running))
    slots.let_in(tx, key)


def set_queue_limit(tx: Transaction, queue: str, waiting: int | None) -> None:
    """Set or lift the length limit of a queue."""
    tx.run(_SQL["set_queue_limit"], (waiting, tx.names.queue(queue)))


def limits(connection: Connection) -> tuple[tuple[str, str, int], ...]:
    """Return every limit that is set."""
    keys = [("key", str(key), most) for key, most in connection.rows(_SQL["key_limits"])]
    queues = [("queue", str(name), most) for name, most in connection.rows(_SQL["queue_limits"])]
    return tuple(sorted(keys + queues))


def put_document(tx: Transaction, name: str, data: bytes | None, version: int) -> Document | None:
    """Write or remove a document if its version is still `version`.

    Raises:
        TooLarge: if it has more than 64 KiB.
    """
    if data is not None and len(data) > _DOCUMENT_BYTES:
        raise TooLarge(f"document {name!r} has {len(data)} bytes, at most {_DOCUMENT_BYTES}")
    standing = document(tx.connection, name)
    if version != (0 if standing is None else standing.version):
        return standing
    if data is None:
        tx.run(_SQL["drop_document"], (name,))
        return None
    given = tx.rows(_SQL["next_version"])[0][0]
    tx.run(_SQL["put_document"], (name, given, data))
    return Document(name=name, version=given, data=data)


def document(connection: Connection, name: str) -> Document | None:
    """Return the document of that name."""
    row = connection.one(_SQL["document"], (name,))
    return None if row is None else _document(row)


def documents(connection: Connection, prefix: str) -> Sequence[Document]:
    """Return the documents whose name begins with `prefix`, by name."""
    rows = connection.rows(_SQL["documents"], (prefix, len(prefix), prefix))
    return [_document(row) for row in rows]


def stats(connection: Connection, now: int) -> Stats:
    """Return the counts of every queue."""
    queues = [_count(connection, row, now) for row in connection.rows(_SQL["queues"])]
    return Stats(now=now, queues=tuple(queues))


def _count(connection: Connection, row: Row, now: int) -> QueueStats:
    number, name, paused, blocked, waiting, running, succeeded, dead, cancelled = row
    later, estimated, oldest = 0, False, None
    if waiting:
        query = {"queue": number, "now": now, "most": _COUNTED}
        later, is_more = _sum(connection.rows(_SQL["later"], query))
        if is_more:
            due, estimated = _sum(connection.rows(_SQL["due"], query))
            later = max(waiting - due, later)
        oldest = _oldest_due(connection, query)
    return QueueStats(
        queue=str(name),
        waiting=waiting,
        blocked=blocked,
        running=running,
        succeeded=succeeded,
        dead=dead,
        cancelled=cancelled,
        later=later,
        later_is_estimate=estimated,
        paused=bool(paused),
        oldest_due=oldest,
    )


def _oldest_due(connection: Connection, query: dict[str, int]) -> int | None:
    """Return the earliest due time; jobs that stand first are stored before all others."""
    found: list[int] = []
    for edge in (-(1 << 62), EARLIEST):
        first = connection.rows(_SQL["oldest_due"], {**query, "from": edge})[0][0]
        found += [shown_due(first)] if type(first) is int else []
    return min(found, default=None)


def _sum(counts: Sequence[Row]) -> tuple[int, bool]:
    """Add the counts of the priorities; tell whether one of them was not counted to its end."""
    numbers = [int(row[0]) for row in counts]
    return sum(numbers), any(number >= _COUNTED for number in numbers)


def _document(row: Row) -> Document:
    return Document(name=str(row[0]), version=row[1], data=row[2])
