"""Pages of records by creation: where they are looked for, which match, and how to go on."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from heapq import merge
from operator import itemgetter

import msgspec

from treadle.broker.memory.lane import Lane, Row
from treadle.broker.values import Filter, Order
from treadle.domain.limits import FIND_EXAMINED
from treadle.domain.state import Shown, State, shown
from treadle.errors import ConfigurationError

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
    lanes: Iterable[Lane], filter: Filter, order: Order, cursor: str | None, limit: int, now: int
) -> tuple[list[Row], str | None]:
    """Return the next rows that match, and the cursor behind the last one examined.

    Raises:
        ConfigurationError: if the cursor is not one of this listing.
    """
    after = None if cursor is None else _place(cursor, filter, order)
    found: list[Row] = []
    for examined, (seq, row) in enumerate(_walk(lanes, filter, order, after)):
        if len(found) == limit or examined == FIND_EXAMINED:
            return found, _cursor(after, filter, order)
        after = seq
        if _matches(row, filter, now):
            found.append(row)
    return found, None


def _walk(
    lanes: Iterable[Lane], filter: Filter, order: Order, after: int | None
) -> Iterator[tuple[int, Row]]:
    newest = order is Order.NEWEST
    states = State if filter.state is None else (_STORED[filter.state],)
    walks = [
        lane.shelves[state].walk(after, newest=newest)
        for lane in lanes
        if filter.queue in (None, "", lane.name)
        for state in states
        if lane.shelves[state]
    ]
    return walks[0] if len(walks) == 1 else merge(*walks, key=itemgetter(0), reverse=newest)


def _matches(row: Row, filter: Filter, now: int) -> bool:
    job, head = row.job, row.head
    if filter.state is not None and filter.state is not shown(
        head.state, due=head.due, attempt=head.attempt, now=now
    ):
        return False
    if filter.type not in (None, "", job.type) or filter.reason not in (None, "", head.reason):
        return False
    if filter.since is not None and row.created < filter.since:
        return False
    if filter.until is not None and row.created >= filter.until:
        return False
    key = "" if job.unique is None else job.unique.key
    if not any(filter.text in text for text in (job.id, job.type, key, head.reason)):
        return False
    return not filter.error or _failed_with(row, filter.error)


def _failed_with(row: Row, text: str) -> bool:
    errors = (line.error for line in reversed(row.history) if line.error is not None)
    last = next(errors, None)
    return last is not None and (text in last.type or text in last.message)


def _mark(filter: Filter, order: Order) -> str:
    return f"{zlib.crc32(msgspec.json.encode((filter, order))):x}"


def _cursor(seq: int | None, filter: Filter, order: Order) -> str:
    return f"{seq}-{_mark(filter, order)}"


def _place(cursor: str, filter: Filter, order: Order) -> int:
    seq, _, mark = cursor.partition("-")
    if mark != _mark(filter, order) or not (seq.isascii() and seq.isdecimal()):
        raise ConfigurationError(f"{cursor!r} is no cursor of this listing: start without one")
    return int(seq)
