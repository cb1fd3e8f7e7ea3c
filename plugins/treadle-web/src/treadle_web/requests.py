"""What callers send: every limit stands in the type, so that it is checked and documented at once."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, TypeVar

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from treadle.broker.base import Filter, Order
from treadle.domain.limits import JOB_ID, NAME
from treadle.domain.state import Shown
from treadle.runtime.job_options import ConflictName, PriorityName

T = TypeVar("T")

CENTURY_S = 3_155_760_000
LAST_EVENT_ID = "Last-Event-ID"

Name = Annotated[str, Meta(pattern=f"^{NAME.pattern}$")]
JobId = Annotated[str, Meta(pattern=f"^{JOB_ID.pattern}$")]
Text = Annotated[str, Meta(max_length=256)]
Key = Annotated[str, Meta(min_length=1, max_length=64)]
Seconds = Annotated[float, Meta(ge=0, le=CENTURY_S)]
Instant = Annotated[datetime, Meta(tz=True)]
Limit = Annotated[int, Meta(ge=1, le=1_000)]
Cursor = Annotated[str, Meta(max_length=512)]
Payload = Annotated[
    Raw, Meta(description="The arguments of the handler.", extra_json_schema={"type": "object"})
]


class NewJob(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A job to enqueue. What is left out is as its handler says, else as the settings say."""

    type: Name
    payload: Payload | UnsetType = UNSET
    id: JobId | UnsetType = UNSET
    """Its own id; enqueueing it again stores nothing."""
    queue: Name | UnsetType = UNSET
    priority: PriorityName | UnsetType = UNSET
    delay: Seconds | UnsetType = UNSET
    """Not before so many seconds from now."""
    run_at: Instant | UnsetType = UNSET
    """Not before this instant; `delay` or `run_at`, not both."""
    expires: Instant | UnsetType = UNSET
    """Not worth running any more from then on."""
    retries: Annotated[int, Meta(ge=0, le=1_000)] | UnsetType = UNSET
    """How often a failed attempt is tried again."""
    timeout: Seconds | UnsetType = UNSET
    """Time limit of one attempt, in seconds."""
    unique: Key | UnsetType = UNSET
    """At most one job with this key, until it is final."""
    on_conflict: ConflictName | UnsetType = UNSET
    """If the key is held; needs `unique`."""
    key: Key | UnsetType = UNSET
    """Concurrency key."""
    meta: dict[Annotated[str, Meta(max_length=64)], Text] | UnsetType = UNSET
    """Small text fields that travel with it."""


class NewJobs(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Jobs to enqueue together; all are checked before one is stored."""

    jobs: Annotated[tuple[NewJob, ...], Meta(min_length=1, max_length=1_000)]


class InQueue(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which queue a job is in."""

    queue: Name | UnsetType = UNSET
    """Without it every queue is asked."""


class Matching(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which jobs: what is left out matches all."""

    queue: Name | UnsetType = UNSET
    state: Shown | UnsetType = UNSET
    type: Name | UnsetType = UNSET
    reason: Name | UnsetType = UNSET
    text: Text = ""
    """Occurs in id, type, unique key or reason."""
    error: Text = ""
    """Occurs in the type or message of the last error."""
    since: Instant | UnsetType = UNSET
    """Created at or after it."""
    until: Instant | UnsetType = UNSET
    """Created before it."""


class ListQuery(Matching, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A page of a listing."""

    order: Order = Order.NEWEST
    cursor: Cursor | UnsetType = UNSET
    limit: Limit = 50


class Action(StrEnum):
    """What can be done to many jobs."""

    CANCEL = "cancel"
    RETRY = "retry"
    DELETE = "delete"


class Bulk(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One action on all jobs that match."""

    action: Action
    filter: Matching
    """An empty one matches every job."""
    dry_run: bool = False
    """Only count."""
    cursor: Cursor | UnsetType = UNSET
    """Goes on where an earlier answer stopped."""


def filter_of(matching: Matching, queue: str | None) -> Filter:
    """Return the filter as brokers know it; `queue` is the one that the caller may ask for."""
    return Filter(
        queue=queue,
        state=given(matching.state),
        type=given(matching.type),
        reason=given(matching.reason),
        text=matching.text,
        error=matching.error,
        since=_ms(matching.since),
        until=_ms(matching.until),
    )


def _ms(at: datetime | UnsetType) -> int | None:
    return None if isinstance(at, UnsetType) else int(at.timestamp() * 1000)


def given(value: T | UnsetType) -> T | None:
    """Return a value, or None where it was left out."""
    return None if isinstance(value, UnsetType) else value
