"""One action on all jobs that match: in chunks, each write fenced, safe to repeat."""

from __future__ import annotations

import time
from typing import Final

from msgspec import Struct, UnsetType

from treadle.cli.bulk import CHUNK, Asked, Tally, act, tell
from treadle.domain.outcome import CancelAsked, DiscardAsked, RetryAsked
from treadle.errors import ConfigurationError
from treadle_web.operation import Ask, Nothing, Reply, Scope, operation, reply
from treadle_web.problems import invalid
from treadle_web.requests import Action, Bulk, filter_of, given

_EVENTS: Final = {
    Action.CANCEL: "job_cancelled",
    Action.RETRY: "job_retried",
    Action.DELETE: "job_deleted",
}


class BulkDone(Struct, frozen=True, kw_only=True):
    """What a bulk action did, or would do."""

    action: Action
    dry_run: bool
    done: int
    asked: int
    """Running jobs that were asked to stop."""
    skipped: int
    """Jobs whose state does not allow it."""
    cursor: str | None
    """There are more: ask again with it. Null when all were looked at."""


@operation("POST", "/api/v1/jobs/bulk", scope=Scope.OPERATE, body=Bulk, answer=BulkDone)
async def bulk_jobs(ask: Ask[Nothing, Bulk]) -> Reply:
    """Cancel, retry or delete all jobs that match a filter, or count them."""
    body, tally = ask.body, Tally()
    asked = _asked(body.action, ask.by)
    chosen = filter_of(body.filter, ask.within(given(body.filter.queue)))
    cursor = None if isinstance(body.cursor, UnsetType) else body.cursor
    client = ask.web.client
    until = time.monotonic() + ask.web.limits.bulk_s
    while True:
        try:
            page = await client.find(chosen, cursor=cursor, limit=CHUNK)
        except ConfigurationError as error:
            raise invalid(str(error), "$.cursor") from None
        if body.dry_run:
            tell(page.now, page.records, asked, tally)
        else:
            acted = await act(client, page.now, page.records, asked, tally)
            ask.audit_jobs(_EVENTS[body.action], acted)
        cursor = page.cursor
        if cursor is None or time.monotonic() > until:
            break
    return reply(
        BulkDone(
            action=body.action,
            dry_run=body.dry_run,
            done=tally.done,
            asked=tally.asked,
            skipped=tally.skipped,
            cursor=cursor,
        )
    )


def _asked(action: Action, by: str) -> Asked:
    match action:
        case Action.CANCEL:
            return CancelAsked(by=by)
        case Action.RETRY:
            return RetryAsked(by=by)
        case Action.DELETE:
            return DiscardAsked(by=by)


OPERATIONS = (bulk_jobs,)
