"""Dead letters over HTTP: jobs in state `dead`, listed with what they died of, retried, discarded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from treadle.broker.base import Filter, Order
from treadle.domain.job import Record
from treadle.domain.outcome import DiscardAsked, RetryAsked
from treadle.domain.state import Shown, State
from treadle.errors import ConfigurationError, IllegalTransition
from treadle.runtime.client import Client
from treadle_web.api.jobs import read_job
from treadle_web.fenced import HEADER, act, ref_of
from treadle_web.fingerprint import fingerprint
from treadle_web.operation import Ask, Reply, Scope, operation, reply
from treadle_web.problems import invalid
from treadle_web.requests import Cursor, InQueue, Name, Text, given
from treadle_web.views import ErrorOut, JobDetail, JobOut, job_out

CHUNK = 100
"""Histories are read with dead letters, and one may be large."""


class DeadOut(JobOut, frozen=True, kw_only=True):
    """A dead letter: the job, and what it died of."""

    fingerprint: str
    error: ErrorOut


class DeadPage(Struct, frozen=True, kw_only=True):
    """Dead letters, and where the listing goes on."""

    items: tuple[DeadOut, ...]
    cursor: str | None


class DeadFilter(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which dead letters: what is left out matches all."""

    queue: Name | UnsetType = UNSET
    type: Name | UnsetType = UNSET
    reason: Name | UnsetType = UNSET
    error: Text = ""
    """Occurs in the type or message of the last error."""


class DeadQuery(DeadFilter, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A page of dead letters."""

    order: Order = Order.NEWEST
    cursor: Cursor | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=CHUNK)] = 50


@operation("GET", "/api/v1/dlq", scope=Scope.READ, query=DeadQuery, answer=DeadPage)
async def list_dead(ask: Ask[DeadQuery, None]) -> Reply:
    """List dead letters with what they died of."""
    query = ask.query
    cursor = given(query.cursor)
    try:
        page = await ask.web.client.find(
            dead_filter(ask, query), order=query.order, cursor=cursor, limit=query.limit
        )
    except ConfigurationError as error:
        raise invalid(str(error), "$query.cursor") from None
    records = await with_history(ask.web.client, page.records)
    items = tuple(_dead_out(record, page.now) for record in records)
    return reply(DeadPage(items=items, cursor=page.cursor))


@operation(
    "POST",
    "/api/v1/dlq/{id}/retry",
    scope=Scope.OPERATE,
    query=InQueue,
    answer=JobDetail,
    headers=(HEADER,),
    problems=(404, 409, 412),
)
async def retry_dead(ask: Ask[InQueue, None]) -> Reply:
    """Run a dead letter again: a new run, with all its attempts."""
    await _refuse_living(ask)
    await act(ask, RetryAsked(by=ask.by), "dead_letter_retried")
    return await read_job.handler(ask)


@operation(
    "POST",
    "/api/v1/dlq/{id}/discard",
    scope=Scope.OPERATE,
    query=InQueue,
    status=(204,),
    headers=(HEADER,),
    problems=(404, 409, 412),
)
async def discard_dead(ask: Ask[InQueue, None]) -> Reply:
    """Remove a dead letter for good; its id is remembered for a while."""
    await _refuse_living(ask)
    await act(ask, DiscardAsked(by=ask.by), "dead_letter_discarded")
    return Reply(status=204)


async def _refuse_living(ask: Ask[InQueue, None]) -> None:
    record = await ask.web.client.get(await ref_of(ask))
    if record.head.state is not State.DEAD:
        state = record.head.state.name.lower()
        raise IllegalTransition(f"job {record.job.id} is {state}: it is no dead letter")


async def with_history(client: Client, found: Sequence[Record]) -> list[Record]:
    """Read what a listing leaves out; who was retried or purged meanwhile is no dead letter."""
    broker = await client.broker()
    records = await broker.get([record.ref for record in found])
    return [r for r in records if r is not None and not r.forgotten and r.head.state is State.DEAD]


def dead_filter(ask: Ask[Any, Any], chosen: DeadFilter) -> Filter:
    """Return the filter as brokers know it.

    Raises:
        Refusal: 403 if the token is not for the queue.
    """
    return Filter(
        queue=ask.within(given(chosen.queue)),
        type=given(chosen.type),
        reason=given(chosen.reason),
        error=chosen.error,
        state=Shown.DEAD,
    )


def _dead_out(record: Record, now: int) -> DeadOut:
    mark, error = fingerprint(record)
    return DeadOut(
        **structs.asdict(job_out(record, now)),
        fingerprint=mark,
        error=ErrorOut(type=error.type, message=error.message),
    )


OPERATIONS = (list_dead, retry_dead, discard_dead)
