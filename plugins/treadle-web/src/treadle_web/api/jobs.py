"""Jobs over HTTP: read, list, cancel, retry, delete, what happened to them and what they logged."""

from __future__ import annotations

from msgspec import UnsetType

from treadle.domain.outcome import CancelAsked, DiscardAsked, RetryAsked
from treadle.errors import ConfigurationError, JobNotFound
from treadle_web.fenced import HEADER, act, etag, ref_of
from treadle_web.operation import Ask, Reply, Scope, operation, reply
from treadle_web.problems import invalid
from treadle_web.requests import InQueue, ListQuery, filter_of, given
from treadle_web.views import (
    History,
    JobDetail,
    JobPage,
    Logs,
    history_out,
    job_detail,
    job_out,
    logs_out,
)


@operation("GET", "/api/v1/jobs", scope=Scope.READ, query=ListQuery, answer=JobPage)
async def list_jobs(ask: Ask[ListQuery, None]) -> Reply:
    """List jobs, a page at a time; only queue and state together are quick on a million jobs."""
    query = ask.query
    cursor = None if isinstance(query.cursor, UnsetType) else query.cursor
    try:
        page = await ask.web.client.find(
            filter_of(query, ask.within(given(query.queue))),
            order=query.order,
            cursor=cursor,
            limit=query.limit,
        )
    except ConfigurationError as error:
        raise invalid(str(error), "$query.cursor") from None
    items = tuple(job_out(record, page.now) for record in page.records)
    return reply(JobPage(items=items, cursor=page.cursor))


@operation(
    "GET",
    "/api/v1/jobs/{id}",
    scope=Scope.READ,
    query=InQueue,
    answer=JobDetail,
    problems=(404,),
)
async def read_job(ask: Ask[InQueue, None]) -> Reply:
    """Tell all that is known of a job; the ETag names what was seen."""
    record = await ask.web.client.get(await ref_of(ask))
    notes = await ask.web.client.notes(record.ref)
    detail = job_detail(record, notes, await ask.web.now(), ask.web.redact)
    return reply(detail, 200, {"ETag": etag(record)})


@operation(
    "POST",
    "/api/v1/jobs/{id}/cancel",
    scope=Scope.OPERATE,
    query=InQueue,
    answer=JobDetail,
    headers=(HEADER,),
    problems=(404, 409, 412),
)
async def cancel_job(ask: Ask[InQueue, None]) -> Reply:
    """Cancel a job: at once if it waits, else its worker is asked to stop it."""
    await act(ask, CancelAsked(by=ask.by), "job_cancelled")
    return await read_job.handler(ask)


@operation(
    "POST",
    "/api/v1/jobs/{id}/retry",
    scope=Scope.OPERATE,
    query=InQueue,
    answer=JobDetail,
    headers=(HEADER,),
    problems=(404, 409, 412),
)
async def retry_job(ask: Ask[InQueue, None]) -> Reply:
    """Start a new run of a final job; its history stays."""
    await act(ask, RetryAsked(by=ask.by), "job_retried")
    return await read_job.handler(ask)


@operation(
    "DELETE",
    "/api/v1/jobs/{id}",
    scope=Scope.OPERATE,
    query=InQueue,
    status=(204,),
    headers=(HEADER,),
    problems=(404, 409, 412),
)
async def delete_job(ask: Ask[InQueue, None]) -> Reply:
    """Remove the record of a final job; its id is remembered for a while."""
    await act(ask, DiscardAsked(by=ask.by), "job_deleted")
    return Reply(status=204)


@operation(
    "GET",
    "/api/v1/jobs/{id}/history",
    scope=Scope.READ,
    query=InQueue,
    answer=History,
    problems=(404,),
)
async def read_history(ask: Ask[InQueue, None]) -> Reply:
    """Tell how each attempt of a job ended, and what people did to it."""
    record = await ask.web.client.get(await ref_of(ask))
    return reply(History(items=tuple(history_out(row) for row in record.history)))


@operation(
    "GET",
    "/api/v1/jobs/{id}/logs",
    scope=Scope.READ,
    query=InQueue,
    answer=Logs,
    problems=(404,),
)
async def read_logs(ask: Ask[InQueue, None]) -> Reply:
    """Tell what a job's handler logged."""
    record = await ask.web.client.get(await ref_of(ask))
    if record.forgotten:
        raise JobNotFound(f"job {record.job.id} ended and its record was purged")
    return reply(logs_out(await ask.web.client.notes(record.ref)))


OPERATIONS = (
    list_jobs,
    read_job,
    cancel_job,
    retry_job,
    delete_job,
    read_history,
    read_logs,
)
