"""What every broker's `find` has in common: which records match, and what a cursor says.

A cursor names the last record that was examined, by its place in the order of creation, and the
listing that it belongs to, so that it cannot be taken for one of another listing.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from treadle.broker.values import Filter, Order
from treadle.domain.job import Head, HistoryRow, Job
from treadle.domain.state import Shown, State, shown
from treadle.errors import ConfigurationError

STORED: Final[Mapping[Shown, State]] = MappingProxyType(
    {
        Shown.SCHEDULED: State.WAITING,
        Shown.QUEUED: State.WAITING,
        Shown.RETRYING: State.WAITING,
        Shown.BLOCKED: State.BLOCKED,
        Shown.RUNNING: State.RUNNING,
        Shown.SUCCEEDED: State.SUCCEEDED,
        Shown.DEAD: State.DEAD,
        Shown.CANCELLED: State.CANCELLED,
    }
)
"""The stored state behind each shown one."""

_MOST_DIGITS = 18
_ESCAPED: Final = frozenset('"\\/')


def as_stored(text: str) -> str:
    """Return a text if JSON holds it as it is wherever it occurs, else "".

    Bytes of a record in which it is not found need not be decoded to know that nothing matches.
    """
    return text if text.isascii() and text.isprintable() and _ESCAPED.isdisjoint(text) else ""


def matches(job: Job, head: Head, created: int, filter: Filter, now: int) -> bool:
    """Tell whether a record matches in everything but `filter.error`."""
    if filter.state is not None and filter.state is not shown(
        head.state, due=head.due, attempt=head.attempt, now=now
    ):
        return False
    if filter.type not in (None, "", job.type) or filter.reason not in (None, "", head.reason):
        return False
    if filter.since is not None and created < filter.since:
        return False
    if filter.until is not None and created >= filter.until:
        return False
    if not filter.text:
        return True
    key = "" if job.unique is None else job.unique.key
    return any(filter.text in text for text in (job.id, job.type, key, head.reason))


def failed_with(history: Sequence[HistoryRow], text: str) -> bool:
    """Tell whether a text occurs in the last error of a history."""
    errors = (line.error for line in reversed(history) if line.error is not None)
    last = next(errors, None)
    return last is not None and (text in last.type or text in last.message)


def cursor_at(place: int | None, filter: Filter, order: Order) -> str:
    """Return the cursor behind the record at a place."""
    return f"{place}-{_mark(filter, order)}"


def place_of(cursor: str, filter: Filter, order: Order) -> int:
    """Return the place that a cursor names.

    Raises:
        ConfigurationError: if it is not one of this listing.
    """
    place, _, mark = cursor.partition("-")
    is_number = place.isascii() and place.isdecimal() and len(place) <= _MOST_DIGITS
    if mark != _mark(filter, order) or not is_number:
        raise ConfigurationError(f"{cursor!r} is no cursor of this listing: start without one")
    return int(place)


def _mark(filter: Filter, order: Order) -> str:
    return f"{zlib.crc32(msgspec.json.encode((filter, order))):x}"
