"""Claims: the due jobs of some queues in order, started for a session."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.broker.simple import keys
from treadle.broker.simple.books import Books
from treadle.broker.simple.records import Shower
from treadle.broker.simple.values import Row
from treadle.domain.head import blocked_on, claimed
from treadle.domain.job import Priority, Record, Ref
from treadle.domain.state import Event


def claim(
    books: Books, shower: Shower, session: str, queues: Sequence[str], limit: int
) -> list[Record]:
    """Start up to `limit` due jobs: queues as listed, then priority, then due time."""
    records: list[Record] = []
    for name in queues:
        queue = books.known_queue(name)
        if queue is None or queue.paused:
            continue
        for priority in Priority:
            while len(records) < limit:
                found = _due(books, name, priority, limit - len(records))
                if not found:
                    break
                for row in found:
                    _start_or_block(books, shower, row, session, records)
    return records


def has_due(books: Books, queues: Sequence[str]) -> bool:
    """Tell whether a claim is worth a transaction that writes."""
    known = [queue for name in queues if (queue := books.known_queue(name)) is not None]
    open_queues = [queue.name for queue in known if not queue.paused]
    return any(_due(books, name, priority, 1) for name in open_queues for priority in Priority)


def _due(books: Books, queue: str, priority: Priority, most: int) -> list[Row]:
    refs = books.first(Ref, keys.LINE, queue, int(priority), most=most, below=books.now + 1)
    return [books.row(ref) for ref in refs]


def _start_or_block(
    books: Books, shower: Shower, row: Row, session: str, records: list[Record]
) -> None:
    if row.key and not books.has_room(row.key):
        books.move(row, blocked_on(row.head, row.key, books.now), Event.BLOCK)
        return
    record = shower.running(row)
    head = claimed(row.head, session, books.now)
    books.move(row, head, Event.CLAIM)
    records.append(Record(job=record.job, head=head, created=row.created, fault=record.fault))
