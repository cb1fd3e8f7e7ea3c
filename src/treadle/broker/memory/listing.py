"""Pages of records by creation: where they are looked for, which match, and how to go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from operator import itemgetter

from treadle.broker.listing import STORED, cursor_at, failed_with, matches, place_of
from treadle.broker.memory.lane import Lane, Row
from treadle.broker.values import Filter, Order
from treadle.domain.limits import FIND_EXAMINED
from treadle.domain.state import State


def page(
    lanes: Iterable[Lane], filter: Filter, order: Order, cursor: str | None, limit: int, now: int
) -> tuple[list[Row], str | None]:
    """Return the next rows that match, and the cursor behind the last one examined.

    Raises:
        ConfigurationError: if the cursor is not one of this listing.
    """
    after = None if cursor is None else place_of(cursor, filter, order)
    found: list[Row] = []
    for examined, (seq, row) in enumerate(_walk(lanes, filter, order, after)):
        if len(found) == limit or examined == FIND_EXAMINED:
            return found, cursor_at(after, filter, order)
        after = seq
        if matches(row.job, row.head, row.created, filter, now) and (
            not filter.error or failed_with(row.history, filter.error)
        ):
            found.append(row)
    return found, None


def _walk(
    lanes: Iterable[Lane], filter: Filter, order: Order, after: int | None
) -> Iterator[tuple[int, Row]]:
    newest = order is Order.NEWEST
    states = State if filter.state is None else (STORED[filter.state],)
    walks = [
        lane.shelves[state].walk(after, newest=newest)
        for lane in lanes
        if filter.queue in (None, "", lane.name)
        for state in states
        if lane.shelves[state]
    ]
    return walks[0] if len(walks) == 1 else merge(*walks, key=itemgetter(0), reverse=newest)
