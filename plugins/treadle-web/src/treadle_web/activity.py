"""What happened to jobs, as the event log of the store tells it: one line an event, with the type of its job.

The log holds the last 10,000 events of all jobs. Its entries name a job by queue and id; the type stands in
the record, so it is read once for each job and then remembered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from treadle.broker.base import Broker, LogEvent
from treadle.domain.job import Ref

OLDEST: Final = "0"
"""A cursor before everything that a log holds; reading on from it may tell of a gap."""
_TYPES_KEPT: Final = 20_000
_AT_ONCE: Final = 100
"""Records come with payload and history, and one may be large."""


class Happened(Struct, frozen=True, kw_only=True):
    """One event of one job."""

    cursor: str
    at: int
    """Broker time in ms."""
    event: str
    """What happened, as the state machine names it: `enqueue`, `claim`, `succeed`, `fail`, ..."""
    queue: str
    id: str
    type: str | None
    """None if the record is gone and nobody asked for it before."""
    state: str
    """The stored state after it, in lower case; "" if the record is gone."""


class Activity(Struct, frozen=True, kw_only=True):
    """Events behind a cursor, the oldest first."""

    items: tuple[Happened, ...]
    cursor: str
    """Reading goes on here, now or later."""
    gap: bool
    """Older events were dropped before they were read."""


class Types:
    """The types of jobs; each is read once."""

    def __init__(self) -> None:
        self._known: OrderedDict[Ref, str] = OrderedDict()

    async def of(self, broker: Broker, refs: Iterable[Ref]) -> dict[Ref, str]:
        """Return the types of those jobs that are known."""
        wanted = list(dict.fromkeys(refs))
        found = {ref: self._known[ref] for ref in wanted if ref in self._known}
        unknown = [ref for ref in wanted if ref not in found]
        for start in range(0, len(unknown), _AT_ONCE):
            for record in await broker.get(unknown[start : start + _AT_ONCE]):
                if record is not None and record.job.type:
                    found[record.ref] = self._known[record.ref] = record.job.type
        while len(self._known) > _TYPES_KEPT:
            self._known.popitem(last=False)
        return found


def with_types(entries: Sequence[LogEvent], types: dict[Ref, str]) -> tuple[Happened, ...]:
    """Return entries of a log with the types of their jobs."""
    return tuple(
        Happened(
            cursor=entry.cursor,
            at=entry.at,
            event=entry.event,
            queue=entry.queue,
            id=entry.id,
            type=types.get(Ref(entry.queue, entry.id)),
            state=entry.state,
        )
        for entry in entries
    )


async def read(broker: Broker, types: Types, after: str, *, limit: int) -> Activity:
    """Return up to `limit` events behind a cursor, which may be `OLDEST`.

    Raises:
        ConfigurationError: if this is no cursor of an event log.
    """
    found = await broker.events(after, limit=limit)
    known = await types.of(broker, (Ref(entry.queue, entry.id) for entry in found.entries))
    return Activity(
        items=with_types(found.entries, known),
        cursor=found.cursor,
        gap=found.gap and after != OLDEST,
    )
