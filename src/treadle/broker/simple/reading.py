"""Reads: records, pages of a listing, counts, the event log; and the purge that ends records."""

from __future__ import annotations

from heapq import merge
from operator import attrgetter
from typing import Final

from treadle.broker.listing import STORED, cursor_at, failed_with, matches, place_of
from treadle.broker.simple import keys, sessions
from treadle.broker.simple.books import Books
from treadle.broker.simple.records import Shower
from treadle.broker.simple.values import Memory, Queue
from treadle.broker.values import Events, Filter, LogEvent, Order, Page, QueueStats, Stats
from treadle.domain.job import Priority, Record, Ref
from treadle.domain.limits import EVENTS_KEPT, FIND_EXAMINED
from treadle.domain.state import State
from treadle.errors import ConfigurationError

_COUNTED: Final = 100_000
"""So many waiting jobs that are not due are counted one by one."""
_FORGOTTEN_AT_ONCE: Final = 1_000


def get(books: Books, shower: Shower, ref: Ref) -> Record | None:
    """Return all that is known of a job; without a queue every queue is asked."""
    if ref.queue:
        return shower.standing(ref)
    found = [shower.standing(Ref(name, ref.id)) for name in books.queue_names()]
    records = [record for record in found if record is not None]
    return min(records, key=attrgetter("forgotten"), default=None)


def page(
    books: Books, shower: Shower, filter: Filter, order: Order, cursor: str | None, limit: int
) -> Page:
    """Return the next records that match, and the cursor behind the last one examined.

    Raises:
        ConfigurationError: if the cursor is not one of this listing.
    """
    after = None if cursor is None else place_of(cursor, filter, order)
    newest = order is Order.NEWEST
    states = list(State) if filter.state is None else [STORED[filter.state]]
    names = [name for name in books.queue_names() if filter.queue in (None, "", name)]
    walks = [
        map(books.row, books.walk(Ref, keys.STATE, name, int(state), after=after, reverse=newest))
        for name in names
        for state in states
    ]
    records: list[Record] = []
    examined = 0
    for row in merge(*walks, key=attrgetter("seq"), reverse=newest):
        if len(records) == max(limit, 1) or examined == FIND_EXAMINED:
            further = cursor_at(after, filter, order)
            return Page(now=books.now, records=tuple(records), cursor=further)
        after, examined = row.seq, examined + 1
        record = shower.listed(row)
        if matches(record.job, row.head, row.created, filter, books.now) and (
            not filter.error or failed_with(books.past(row.ref).history, filter.error)
        ):
            records.append(record)
    return Page(now=books.now, records=tuple(records))


def stats(books: Books) -> Stats:
    """Return the counts of every queue."""
    queues = books.first(Queue, keys.QUEUE)
    return Stats(now=books.now, queues=tuple(_count(books, queue) for queue in queues))


def _count(books: Books, queue: Queue) -> QueueStats:
    later = 0
    for priority in Priority:
        later += len(_later(books, queue.name, priority, _COUNTED - later))
    firsts = [_oldest(books, queue.name, priority) for priority in Priority]
    counts = queue.counts
    return QueueStats(
        queue=queue.name,
        waiting=counts[State.WAITING],
        blocked=counts[State.BLOCKED],
        running=counts[State.RUNNING],
        succeeded=counts[State.SUCCEEDED],
        dead=counts[State.DEAD],
        cancelled=counts[State.CANCELLED],
        later=later,
        later_is_estimate=later >= _COUNTED,
        paused=queue.paused,
        oldest_due=min((due for due in firsts if due is not None), default=None),
    )


def _later(books: Books, name: str, priority: Priority, most: int) -> list[Ref]:
    walk = books.walk(Ref, keys.LINE, name, int(priority), after=books.now, reverse=False)
    return [ref for ref, _ in zip(walk, range(most), strict=False)]


def _oldest(books: Books, name: str, priority: Priority) -> int | None:
    """Return since when the first job of a line has been due; those let in stand before it."""
    oldest: int | None = None
    line = books.walk(Ref, keys.LINE, name, int(priority), after=None, reverse=False)
    for row in map(books.row, line):
        if row.head.due > books.now:
            break
        oldest = row.head.due if oldest is None else min(oldest, row.head.due)
        if not row.goes_first:
            break
    return oldest


def events(books: Books, after: str | None, limit: int) -> Events:
    """Return up to `limit` entries after a cursor; None gives the cursor of now.

    Raises:
        ConfigurationError: if this is no cursor of an event log.
    """
    end = books.counters.event
    if after is None:
        return Events(cursor=str(end))
    if not (after.isascii() and after.isdecimal()):
        raise ConfigurationError(f"{after!r} is no cursor of the event log")
    start, oldest = int(after), max(end - EVENTS_KEPT, 0)
    gap = start < oldest or start > end
    start = oldest if gap else start
    walk = books.walk(LogEvent, keys.EVENT, after=start, reverse=False)
    entries = tuple(entry for entry, _ in zip(walk, range(max(limit, 1)), strict=False))
    return Events(cursor=str(start + len(entries)), entries=entries, gap=gap)


def purge(books: Books, limit: int) -> int:
    """Drop up to `limit` final records past their retention, and what need not be known longer."""
    below = books.now + 1
    rows = [books.row(ref) for ref in books.first(Ref, keys.FINAL_DUE, below=below, most=limit)]
    for row in rows:
        books.remove(row, row.head.finished + row.remember_ms)
    for ref in books.first(Ref, keys.FORGET, below=below, most=_FORGOTTEN_AT_ONCE):
        _forget(books, ref)
    sessions.forget_old(books)
    return len(rows)


def _forget(books: Books, ref: Ref) -> None:
    memory = books.read(Memory, keys.MEMORY, ref.queue, ref.id)
    if memory is None:
        return
    books.drop(keys.FORGET, memory.until, ref.queue, ref.id)
    books.drop(keys.MEMORY, ref.queue, ref.id)
    if books.find_row(ref) is None:
        books.drop_key(ref, memory.key)
