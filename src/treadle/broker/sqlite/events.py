"""The event log, as it is read."""

from __future__ import annotations

import msgspec

from treadle.broker.sqlite.connection import Connection
from treadle.broker.sqlite.statements import load
from treadle.broker.values import Events, LogEvent
from treadle.domain.limits import EVENTS_KEPT
from treadle.errors import ConfigurationError

_SQL = load("events")
_decoder = msgspec.json.Decoder(list[tuple[str, str, str, list[str]]])


def read(connection: Connection, after: str | None, limit: int) -> Events:
    """Return up to `limit` entries after a cursor; None gives the cursor of now.

    Raises:
        ConfigurationError: if this is no cursor of an event log.
    """
    row = connection.one(_SQL["newest"])
    end: int = 0 if row is None else row[0]
    if after is None:
        return Events(cursor=str(end))
    start = _number(after)
    oldest = max(end - EVENTS_KEPT, 0)
    gap = start < oldest or start > end
    if gap:
        start = oldest
    entries: list[LogEvent] = []
    seen = start
    while seen < end and len(entries) < max(limit, 1):
        row = connection.one(_SQL["next"], (seen,))
        if row is None:
            break
        found = _entries(row[0], row[1], row[2])
        entries += [entry for entry in found if int(entry.cursor) > seen]
        seen = row[0]
    del entries[max(limit, 1) :]
    cursor = entries[-1].cursor if entries else str(seen)
    return Events(cursor=cursor, entries=tuple(entries), gap=gap)


def _entries(last: int, at: int, data: bytes) -> list[LogEvent]:
    """Return the entries of one row with their numbers; a row that cannot be read has none."""
    try:
        groups = _decoder.decode(data)
    except (msgspec.DecodeError, TypeError):
        return []
    first = last - sum(len(ids) for _, _, _, ids in groups) + 1
    flat = [(event, queue, state, job_id) for event, queue, state, ids in groups for job_id in ids]
    return [
        LogEvent(cursor=str(number), at=at, event=event, queue=queue, id=job_id, state=state)
        for number, (event, queue, state, job_id) in enumerate(flat, first)
    ]


def _number(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdecimal()) or len(cursor) > 18:
        raise ConfigurationError(f"{cursor!r} is no cursor of the event log")
    return int(cursor)
