"""What is around the jobs: workers, handlers, health, and numbers for Prometheus."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from msgspec import Struct

from treadle.broker.base import SessionInfo
from treadle.cli.views import embedded, instant
from treadle.runtime.about import Offer, offer, offers_of
from treadle_web.metrics import TEXT, exposition
from treadle_web.operation import Ask, Nothing, Reply, Scope, operation, reply
from treadle_web.views import AnyJson


class WorkerOut(Struct, frozen=True, kw_only=True):
    """One worker as the broker sees it."""

    name: str
    session: str
    state: str
    """`alive`, or `expired` if its heartbeats stopped and nobody ended it yet."""
    running: int
    opened: str | None
    expires: str | None
    lease_ms: int
    info: AnyJson
    """What it said about itself."""


class Workers(Struct, frozen=True, kw_only=True):
    """The workers that are at work, and those that fell silent."""

    items: tuple[WorkerOut, ...]


class HandlerOut(Struct, frozen=True, kw_only=True):
    """A handler: of a worker that lives, or of the application that this server was started with."""

    type: str
    summary: str
    queue: str
    schema: dict[str, Any] | None
    """The JSON Schema of its payload; null if its worker has too many handlers to tell."""
    workers: int
    """So many living workers have it."""


class Handlers(Struct, frozen=True, kw_only=True):
    """What can be enqueued; what no worker has waits until one does."""

    items: tuple[HandlerOut, ...]


class Health(Struct, frozen=True, kw_only=True):
    """Whether it works."""

    status: str


@operation("GET", "/api/v1/workers", scope=Scope.READ, answer=Workers)
async def list_workers(ask: Ask[Nothing, None]) -> Reply:
    """List the workers that are at work, and those that fell silent."""
    ask.refuse_limited()
    now = await ask.web.now()
    sessions = await (await ask.web.broker()).sessions()
    return reply(Workers(items=tuple(_worker(one, now) for one in sessions)))


@operation("GET", "/api/v1/handlers", scope=Scope.READ, answer=Handlers)
async def list_handlers(ask: Ask[Nothing, None]) -> Reply:
    """List the handlers of living workers and of the application, with the schemas of their payloads."""
    now = await ask.web.now()
    sessions = await (await ask.web.broker()).sessions()
    living = [offers_of(one.info) for one in sessions if one.expires > now]
    found: dict[str, Offer] = {}
    for one in (one for offers in living for one in offers):
        known = found.get(one.type)
        if known is None or (one.has_schema and not known.has_schema):
            found[one.type] = one
    found |= {name: offer(own) for name, own in ask.web.jobs.handlers.items()}
    counted = Counter(one.type for offers in living for one in offers)
    items = [_handler(one, counted[name]) for name, one in sorted(found.items())]
    return reply(Handlers(items=tuple(one for one in items if ask.who.may_use(one.queue))))


def _handler(one: Offer, workers: int) -> HandlerOut:
    schema: dict[str, Any] | None = None
    if one.has_schema:
        schema = msgspec.json.decode(one.schema)
    return HandlerOut(
        type=one.type, summary=one.summary, queue=one.queue, schema=schema, workers=workers
    )


@operation("GET", "/livez", scope=None, answer=Health)
async def live(ask: Ask[Nothing, None]) -> Reply:
    """Tell that this server answers; the store is not asked."""
    del ask
    return reply(Health(status="ok"))


@operation("GET", "/readyz", scope=None, answer=Health)
async def ready(ask: Ask[Nothing, None]) -> Reply:
    """Tell whether the store answers; 503 if not."""
    await ask.web.client.stats()
    return reply(Health(status="ok"))


@operation("GET", "/health", scope=None, answer=Health)
async def health(ask: Ask[Nothing, None]) -> Reply:
    """Tell the same as /readyz."""
    return await ready.handler(ask)


@operation("GET", "/metrics", scope=Scope.READ, media_type="text/plain")
async def metrics(ask: Ask[Nothing, None]) -> Reply:
    """Tell what the store counts, in the text format of Prometheus."""
    ask.refuse_limited()
    stats = await ask.web.client.stats()
    sessions = await (await ask.web.broker()).sessions()
    text = exposition(stats, sessions)
    return Reply(content=text.encode(), media_type=TEXT)


def _worker(one: SessionInfo, now: int) -> WorkerOut:
    return WorkerOut(
        name=one.name,
        session=one.session,
        state="alive" if one.expires > now else "expired",
        running=one.running,
        opened=instant(one.opened),
        expires=instant(one.expires),
        lease_ms=one.lease_ms,
        info=embedded(one.info),
    )


OPERATIONS = (list_workers, list_handlers, live, ready, health, metrics)
