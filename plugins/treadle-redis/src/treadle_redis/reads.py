"""Reads that change nothing: jobs, notes, listings, counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from treadle.broker.listing import STORED, as_stored, cursor_at, failed_with, matches, place_of
from treadle.broker.values import Filter, Notes, Order, Page, QueueStats, Stats
from treadle.domain.codec import decode_history
from treadle.domain.job import Record, Ref
from treadle.domain.limits import FIND_EXAMINED
from treadle_redis import scripts
from treadle_redis.desk import Desk
from treadle_redis.foreign import reads
from treadle_redis.ids import packed
from treadle_redis.records import Show
from treadle_redis.wire import named, read_line

_AT_ONCE: Final = 500
"""How many records of a listing are read in one call."""
_IN_IDS: Final = frozenset("0123456789abcdef-")
"""What is stored of ids in another form."""


@reads("records")
async def get(desk: Desk, refs: Sequence[Ref]) -> list[Record | None]:
    """Return each job with all that is known of it."""
    arguments = [named(ref) for ref in refs]
    replies = await desk.links.exchange(scripts.GET, [*arguments], again=True)
    return [desk.reader.standing(reply) for reply in replies]


@reads("notes")
async def notes(desk: Desk, ref: Ref) -> Notes:
    """Return what handlers noted about a job."""
    progress, log, steps = await desk.links.run(
        scripts.NOTES, ref.queue, packed(ref.id), again=True
    )
    named_steps = sorted(
        (data[:8], name.decode("utf-8", "surrogatepass"), data[8:])
        for name, data in zip(steps[::2], steps[1::2], strict=True)
    )
    return Notes(
        progress=progress[0] if progress else None,
        log=tuple(map(read_line, log)),
        steps=tuple((name, data) for _, name, data in named_steps),
    )


@reads("records")
async def find(desk: Desk, filter: Filter, order: Order, cursor: str | None, limit: int) -> Page:
    """Return the next records that match, and the cursor behind the last one examined.

    Raises:
        ConfigurationError: if the cursor is not one of this listing.
    """
    after = None if cursor is None else place_of(cursor, filter, order)
    wanted, left, records = max(limit, 1), FIND_EXAMINED, list[Record]()
    is_seek = filter == Filter(queue=filter.queue, state=filter.state)
    while True:
        is_enough = len(records) == wanted or not left  # all that counts then: is there one more?
        most = 1 if is_enough else min(wanted - len(records) + 1 if is_seek else left, _AT_ONCE)
        now, seen, last, rows = await _part(desk, filter, order, after, most)
        if is_enough and seen:
            return Page(now=now, records=tuple(records), cursor=cursor_at(after, filter, order))
        for queue, job_id, data, place, history in rows:
            record = desk.reader.record(queue, job_id, data, Show.LISTED)
            if not matches(record.job, record.head, record.created, filter, now) or (
                filter.error and not _failed_with(history, filter.error)
            ):
                continue
            records.append(record)
            if len(records) == wanted and place != last:
                further = cursor_at(place, filter, order)
                return Page(now=now, records=tuple(records), cursor=further)
        if seen < most:
            return Page(now=now, records=tuple(records))
        after, left = last, left - seen


async def _part(
    desk: Desk, filter: Filter, order: Order, after: int | None, most: int
) -> tuple[int, int, int, list[list[Any]]]:
    """Read the next records but for those that cannot match; tell how many and which was the last."""
    now, seen, last, rows = await desk.links.run(
        scripts.FIND,
        filter.queue or "",
        "" if filter.state is None else int(STORED[filter.state]),
        int(order is Order.NEWEST),
        "" if after is None else after,
        most,
        int(bool(filter.error)),
        _sought(filter.text, _IN_IDS),
        _sought(filter.type or ""),
        _sought(filter.reason or ""),
        _sought(filter.error),
        again=True,
    )
    return now, seen, last, rows


def _sought(text: str, disguised: frozenset[str] = frozenset()) -> str:
    """Return a text if it is stored as it is wherever it occurs, else ""."""
    return "" if disguised.issuperset(text) else as_stored(text)


def _failed_with(history: bytes, text: str) -> bool:
    return failed_with([decode_history(line) for line in history.splitlines()], text)


@reads("counters")
async def stats(desk: Desk) -> Stats:
    """Return the counts of every queue."""
    now, rows = await desk.links.run(scripts.STATS, again=True)
    return Stats(now=now, queues=tuple(map(_queue_stats, rows)))


def _queue_stats(row: list[Any]) -> QueueStats:
    queue, blocked, waiting, running, succeeded, dead, cancelled, later, paused, oldest = row
    return QueueStats(
        queue=queue.decode(),
        waiting=waiting,
        blocked=blocked,
        running=running,
        succeeded=succeeded,
        dead=dead,
        cancelled=cancelled,
        later=later,
        paused=bool(paused),
        oldest_due=oldest if isinstance(oldest, int) else None,
    )
