"""Pages of records by creation: where they are looked for, which match, and how to go on.

Each (queue, state) is a stream in order of creation, read as far as it is needed; several of them
are merged. Counts tell which streams have anything in them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from heapq import merge
from operator import itemgetter

import msgspec

from treadle.broker.sqlite.connection import Connection, Row
from treadle.broker.sqlite.history import read
from treadle.broker.sqlite.rows import SEQ, record
from treadle.broker.sqlite.statements import load
from treadle.broker.values import Filter, Order, Page
from treadle.domain.job import Record
from treadle.domain.limits import FIND_EXAMINED
from treadle.domain.state import Shown, State, shown
from treadle.errors import ConfigurationError

_SQL = load("listing")
_READ_AHEAD = 64
_STORED = {
    Shown.SCHEDULED: State.WAITING,
    Shown.QUEUED: State.WAITING,
    Shown.RETRYING: State.WAITING,
    Shown.BLOCKED: State.BLOCKED,
    Shown.RUNNING: State.RUNNING,
    Shown.SUCCEEDED: State.SUCCEEDED,
    Shown.DEAD: State.DEAD,
    Shown.CANCELLED: State.CANCELLED,
}


def page(
    connection: Connection, now: int, filter: Filter, order: Order, cursor: str | None, limit: int
) -> Page:
    """Return the next records that match, and the cursor behind the last one examined.

    Raises:
        ConfigurationError: if the cursor is not one of this listing.
    """
    after = None if cursor is None else _place(cursor, filter, order)
    found: list[Record] = []
    for examined, row in enumerate(_walk(connection, filter, order, after)):
        if len(found) == limit or examined == FIND_EXAMINED:
            return Page(now=now, records=tuple(found), cursor=_cursor(after, filter, order))
        after = row[SEQ]
        candidate = record(connection, row)
        if _matches(connection, row, candidate, filter, now):
            found.append(candidate)
    return Page(now=now, records=tuple(found))


def _walk(connection: Connection, filter: Filter, order: Order, after: int | None) -> Iterator[Row]:
    newest = order is Order.NEWEST
    edge = after if after is not None else (1 << 62 if newest else -1)
    if not filter.queue and filter.state is None:
        return _stream(connection, _SQL["newest" if newest else "oldest"], {"after": edge})
    streams = [
        _stream(connection, _text(state, newest=newest), {"queue": queue, "after": edge})
        for queue, state in _shelves(connection, filter)
    ]
    if len(streams) == 1:
        return streams[0]
    return merge(*streams, key=itemgetter(SEQ), reverse=newest)


def _shelves(connection: Connection, filter: Filter) -> list[tuple[int, State]]:
    """Return the queues and states that may hold what is looked for."""
    states = tuple(State) if filter.state is None else (_STORED[filter.state],)
    return [
        (number, state)
        for number, name, *counts in connection.rows(_SQL["shelves"])
        if not filter.queue or filter.queue == name
        for state in states
        if counts[state] > 0
    ]


def _text(state: State, *, newest: bool) -> str:
    name = "running" if state is State.RUNNING else f"of_{state.name.lower()}"
    return _SQL[f"{name}_{'newest' if newest else 'oldest'}"]


def _stream(connection: Connection, sql: str, parameters: dict[str, int]) -> Iterator[Row]:
    """Yield rows in portions; each portion begins behind the last row of the one before."""
    while True:
        rows = connection.rows(sql, {**parameters, "most": _READ_AHEAD})
        yield from rows
        if len(rows) < _READ_AHEAD:
            return
        parameters = {**parameters, "after": rows[-1][SEQ]}


def _matches(connection: Connection, row: Row, found: Record, filter: Filter, now: int) -> bool:
    job, head = found.job, found.head
    if filter.state is not None and filter.state is not shown(
        head.state, due=head.due, attempt=head.attempt, now=now
    ):
        return False
    if filter.type not in (None, "", job.type) or filter.reason not in (None, "", head.reason):
        return False
    if filter.since is not None and found.created < filter.since:
        return False
    if filter.until is not None and found.created >= filter.until:
        return False
    if filter.text:
        key = "" if job.unique is None else job.unique.key
        if not any(filter.text in text for text in (job.id, job.type, key, head.reason)):
            return False
    return not filter.error or _failed_with(connection, row, filter.error)


def _failed_with(connection: Connection, row: Row, text: str) -> bool:
    whole = connection.one(_SQL["whole"], (row[SEQ],))
    history = () if whole is None else read(connection, whole)
    errors = (line.error for line in reversed(history) if line.error is not None)
    last = next(errors, None)
    return last is not None and (text in last.type or text in last.message)


def _mark(filter: Filter, order: Order) -> str:
    return f"{zlib.crc32(msgspec.json.encode((filter, order))):x}"


def _cursor(seq: int | None, filter: Filter, order: Order) -> str:
    return f"{seq}-{_mark(filter, order)}"


def _place(cursor: str, filter: Filter, order: Order) -> int:
    seq, _, mark = cursor.partition("-")
    if mark != _mark(filter, order) or not (seq.isascii() and seq.isdecimal()) or len(seq) > 18:
        raise ConfigurationError(f"{cursor!r} is no cursor of this listing: start without one")
    return int(seq)
