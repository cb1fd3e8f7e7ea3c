"""Dead letters that died of the same: counted, retried and discarded together."""

from __future__ import annotations

import time
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from treadle.cli.bulk import Tally, act, tell
from treadle.cli.views import instant
from treadle.domain.job import Record
from treadle.domain.outcome import DiscardAsked, RetryAsked
from treadle.errors import ConfigurationError
from treadle_web.api.dead import CHUNK, DeadFilter, dead_filter, with_history
from treadle_web.fingerprint import fingerprint
from treadle_web.operation import Ask, Nothing, Reply, Scope, operation, reply
from treadle_web.problems import invalid
from treadle_web.requests import Cursor, given
from treadle_web.views import ErrorOut


class GroupQuery(DeadFilter, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How many of the newest dead letters are looked at."""

    window: Annotated[int, Meta(ge=1, le=5_000)] = 500


class Group(Struct, kw_only=True):
    """Dead letters that died of the same."""

    fingerprint: str
    type: str
    reason: str | None
    error: ErrorOut
    count: int
    first: str | None
    """When the oldest one of the window was created."""
    last: str | None
    example: str
    """The id of the newest one."""
    example_queue: str


class Groups(Struct, frozen=True, kw_only=True):
    """Groups of the newest dead letters, the largest first."""

    items: tuple[Group, ...]
    examined: int
    """So many dead letters were looked at."""
    complete: bool
    """There are no older ones that match."""


class GroupAct(DeadFilter, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which dead letters are looked at, the newest first, for those of a group."""

    dry_run: bool = False
    """Only count."""
    cursor: Cursor | UnsetType = UNSET
    """Goes on where an earlier answer stopped."""


class GroupDone(Struct, frozen=True, kw_only=True):
    """What was done to a group, or would be."""

    fingerprint: str
    dry_run: bool
    done: int
    skipped: int
    """Dead letters of the group that somebody else was faster with, or whose unique key is held."""
    examined: int
    cursor: str | None
    """There are more to look at: ask again with it. Null when all were."""


@operation("GET", "/api/v1/dlq/groups", scope=Scope.READ, query=GroupQuery, answer=Groups)
async def group_dead(ask: Ask[GroupQuery, None]) -> Reply:
    """Group the newest dead letters by what they died of."""
    chosen, window = dead_filter(ask, ask.query), ask.query.window
    groups: dict[str, Group] = {}
    examined, cursor = 0, None
    while examined < window:
        size = min(CHUNK, window - examined)
        page = await ask.web.client.find(chosen, cursor=cursor, limit=size)
        for record in await with_history(ask.web.client, page.records):
            _count(groups, record)
        examined += len(page.records)
        cursor = page.cursor
        if cursor is None:
            break
    ordered = sorted(groups.values(), key=lambda group: -group.count)
    return reply(Groups(items=tuple(ordered), examined=examined, complete=cursor is None))


@operation(
    "POST",
    "/api/v1/dlq/groups/{fingerprint}/retry",
    scope=Scope.OPERATE,
    body=GroupAct,
    body_optional=True,
    answer=GroupDone,
)
async def retry_group(ask: Ask[Nothing, GroupAct | None]) -> Reply:
    """Run again all dead letters that died of the same, or count them."""
    return await _act_on_group(ask, "dead_letter_retried", RetryAsked(by=ask.by))


@operation(
    "POST",
    "/api/v1/dlq/groups/{fingerprint}/discard",
    scope=Scope.OPERATE,
    body=GroupAct,
    body_optional=True,
    answer=GroupDone,
)
async def discard_group(ask: Ask[Nothing, GroupAct | None]) -> Reply:
    """Remove for good all dead letters that died of the same, or count them."""
    return await _act_on_group(ask, "dead_letter_discarded", DiscardAsked(by=ask.by))


async def _act_on_group(
    ask: Ask[Nothing, GroupAct | None], event: str, asked: RetryAsked | DiscardAsked
) -> Reply:
    """Walk along the dead letters, a chunk at a time, for as long as one request may."""
    body, mark = ask.body or GroupAct(), ask.path["fingerprint"]
    chosen, cursor = dead_filter(ask, body), given(body.cursor)
    tally, examined = Tally(), 0
    until = time.monotonic() + ask.web.limits.bulk_s
    while True:
        try:
            page = await ask.web.client.find(chosen, cursor=cursor, limit=CHUNK)
        except ConfigurationError as error:
            raise invalid(str(error), "$.cursor") from None
        found = await with_history(ask.web.client, page.records)
        group = [record for record in found if fingerprint(record)[0] == mark]
        if body.dry_run:
            tell(page.now, group, asked, tally)
        else:
            ask.audit_jobs(event, await act(ask.web.client, page.now, group, asked, tally))
        examined, cursor = examined + len(page.records), page.cursor
        if cursor is None or time.monotonic() > until:
            break
    return reply(
        GroupDone(
            fingerprint=mark,
            dry_run=body.dry_run,
            done=tally.done,
            skipped=tally.skipped,
            examined=examined,
            cursor=cursor,
        )
    )


def _count(groups: dict[str, Group], record: Record) -> None:
    mark, error = fingerprint(record)
    created = instant(record.created)
    group = groups.get(mark)
    if group is None:
        groups[mark] = Group(
            fingerprint=mark,
            type=record.job.type,
            reason=record.head.reason or None,
            error=ErrorOut(type=error.type, message=error.message),
            count=1,
            first=created,
            last=created,
            example=record.job.id,
            example_queue=record.job.queue,
        )
    else:  # the newest comes first
        group.count += 1
        group.first = created


OPERATIONS = (group_dead, retry_group, discard_group)
