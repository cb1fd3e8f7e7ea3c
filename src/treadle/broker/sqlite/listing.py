"""Pages of records by creation: where they are looked for, which match, and how to go on.

Each (queue, state) is a stream in order of creation, read as far as it is needed; several of them
are merged. Counts tell which streams have anything in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from operator import itemgetter

from treadle.broker.listing import STORED, as_stored, cursor_at, failed_with, matches, place_of
from treadle.broker.sqlite.connection import Connection, Row
from treadle.broker.sqlite.history import read
from treadle.broker.sqlite.rows import BODY, ID, MORE, SEQ, record
from treadle.broker.sqlite.statements import load
from treadle.broker.values import Filter, Order, Page
from treadle.domain.job import Record
from treadle.domain.limits import FIND_EXAMINED
from treadle.domain.state import State

_SQL = load("listing")
_READ_AHEAD = 64
_MAY_BE_NONE = (str, type(None))


class _Sought:
    """What must stand in a row that matches: most rows are passed over without being decoded."""

    def __init__(self, filter: Filter) -> None:
        self._text = as_stored(filter.text)
        self._bytes = self._text.encode()
        self._type = as_stored(filter.type or "").encode()

    def is_missing(self, row: Row) -> bool:
        """Tell whether a row cannot match; False says nothing."""
        job_id, more, body = row[ID], row[MORE], row[BODY]
        if type(job_id) is not str or type(body) is not bytes or type(more) not in _MAY_BE_NONE:
            return False  # it makes no sense: whoever shows it mends it
        if self._type not in body:
            return True
        text = self._text
        return self._bytes not in body and text not in job_id and (more is None or text not in more)


def page(
    connection: Connection, now: int, filter: Filter, order: Order, cursor: str | None, limit: int
) -> Page:
    """Return the next records that match, and the cursor behind the last one examined.

    Raises:
        ConfigurationError: if the cursor is not one of this listing.
    """
    after = None if cursor is None else place_of(cursor, filter, order)
    found: list[Record] = []
    sought = _Sought(filter)
    for examined, row in enumerate(_walk(connection, filter, order, after)):
        if len(found) == limit or examined == FIND_EXAMINED:
            return Page(now=now, records=tuple(found), cursor=cursor_at(after, filter, order))
        after = row[SEQ]
        if sought.is_missing(row):
            continue
        candidate = record(connection, row)
        if matches(candidate.job, candidate.head, candidate.created, filter, now) and (
            not filter.error or _failed_with(connection, row, filter.error)
        ):
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
    states = tuple(State) if filter.state is None else (STORED[filter.state],)
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


def _failed_with(connection: Connection, row: Row, text: str) -> bool:
    whole = connection.one(_SQL["whole"], (row[SEQ],))
    return whole is not None and failed_with(read(connection, whole), text)
