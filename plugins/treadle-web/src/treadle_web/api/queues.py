"""Queues over HTTP: their counts, and whether workers may claim from them."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from treadle.broker.base import QueueStats
from treadle.domain.limits import NAME
from treadle_web.operation import Ask, Nothing, Reply, Scope, operation, reply
from treadle_web.problems import Refusal

_PAUSED: Final = "paused"
_ACTIVE: Final = "active"


class QueueOut(Struct, frozen=True, kw_only=True):
    """One queue. Counts are exact at rest; `later` may be one second old."""

    queue: str
    waiting: int
    later: int
    """How many of `waiting` are not due yet."""
    later_is_estimate: bool
    blocked: int
    running: int
    succeeded: int
    dead: int
    cancelled: int
    paused: bool
    oldest_ms: int | None
    """For how long the job that waits longest could have been claimed."""


class Queues(Struct, frozen=True, kw_only=True):
    """Every queue that had a job."""

    items: tuple[QueueOut, ...]


def queue_out(stats: QueueStats, now: int) -> QueueOut:
    """Show the counts of a queue."""
    oldest = None if stats.oldest_due is None else max(now - stats.oldest_due, 0)
    return QueueOut(
        queue=stats.queue,
        waiting=stats.waiting,
        later=stats.later,
        later_is_estimate=stats.later_is_estimate,
        blocked=stats.blocked,
        running=stats.running,
        succeeded=stats.succeeded,
        dead=stats.dead,
        cancelled=stats.cancelled,
        paused=stats.paused,
        oldest_ms=oldest,
    )


@operation("GET", "/api/v1/queues", scope=Scope.READ, answer=Queues)
async def list_queues(ask: Ask[Nothing, None]) -> Reply:
    """Tell the counts of every queue; no job is counted for it."""
    stats = await ask.web.client.stats()
    return reply(
        Queues(
            items=tuple(
                queue_out(one, stats.now) for one in stats.queues if ask.who.may_use(one.queue)
            )
        )
    )


@operation(
    "GET",
    "/api/v1/queues/{queue}/stats",
    scope=Scope.READ,
    answer=QueueOut,
    problems=(404,),
)
async def read_queue(ask: Ask[Nothing, None]) -> Reply:
    """Tell the counts of one queue."""
    return reply(await _queue(ask))


@operation(
    "POST",
    "/api/v1/queues/{queue}/pause",
    scope=Scope.OPERATE,
    answer=QueueOut,
    problems=(404,),
)
async def pause_queue(ask: Ask[Nothing, None]) -> Reply:
    """Stop claims of a queue; running jobs go on. Survives restarts; harmless if it is paused."""
    return await _set_paused(ask, paused=True)


@operation(
    "POST",
    "/api/v1/queues/{queue}/resume",
    scope=Scope.OPERATE,
    answer=QueueOut,
    problems=(404,),
)
async def resume_queue(ask: Ask[Nothing, None]) -> Reply:
    """Let workers claim from a queue again."""
    return await _set_paused(ask, paused=False)


async def _set_paused(ask: Ask[Nothing, None], *, paused: bool) -> Reply:
    found = await _queue(ask)
    await (await ask.web.broker()).pause(found.queue, paused)
    event, after = ("queue_paused", _PAUSED) if paused else ("queue_resumed", _ACTIVE)
    before = _PAUSED if found.paused else _ACTIVE
    ask.audit(event, before=before, after=after, queue=found.queue)
    return reply(await _queue(ask))


async def _queue(ask: Ask[Nothing, None]) -> QueueOut:
    name = ask.path["queue"]
    ask.within(name)
    stats = await ask.web.client.stats()
    for one in stats.queues:
        if one.queue == name:
            return queue_out(one, stats.now)
    known = NAME.fullmatch(name) is not None
    text = (
        f"no queue {name}: one exists once a job was enqueued to it" if known else "no such queue"
    )
    raise Refusal(404, "queue_not_found", text)


OPERATIONS = (list_queues, read_queue, pause_queue, resume_queue)
