"""Reads that change nothing: jobs, notes, listings, counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from treadle.broker.listing import STORED, cursor_at, failed_with, matches, place_of
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
    wanted, examined, records, now = max(limit, 1), 0, list[Record](), 0
    is_seek = filter == Filter(queue=filter.queue, state=filter.state)
    while True:
        most = min(wanted - len(records) + 1 if is_seek else _AT_ONCE, _AT_ONCE)
        now, rows = await _part(desk, filter, order, after, most)
        for queue, job_id, data, seq, history in rows:
            if len(records) == wanted or examined == FIND_EXAMINED:
                further = cursor_at(after, filter, order)
                return Page(now=now, records=tuple(records), cursor=further)
            after, examined = int(seq), examined + 1
            record = desk.reader.record(queue, job_id, data, Show.LISTED)
            if matches(record.job, record.head, record.created, filter, now) and (
                not filter.error or _failed_with(history, filter.error)
            ):
                records.append(record)
        if len(rows) < most:
            return Page(now=now, records=tuple(records))


async def _part(
    desk: Desk, filter: Filter, order: Order, after: int | None, most: int
) -> tuple[int, list[list[Any]]]:
    now, rows = await desk.links.run(
        scripts.FIND,
        filter.queue or "",
        "" if filter.state is None else int(STORED[filter.state]),
        int(order is Order.NEWEST),
        "" if after is None else after,
        most,
        int(bool(filter.error)),
        again=True,
    )
    return now, rows


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
