"""What the interface answers, as its client reads it: fields of newer servers are left out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct


class Problem(Struct, frozen=True, kw_only=True):
    """Why a request was refused (RFC 9457)."""

    title: str = ""
    status: int = 0
    detail: str = ""
    code: str = ""
    """Stable: one of Treadle's error codes, or a word."""
    request_id: str = ""
    """Under which the log of the server tells more."""
    path: str = ""
    """Where in the request it stands: `$.payload.to`."""
    ids: tuple[str, ...] = ()


class Created(Struct, frozen=True, kw_only=True):
    """A job that was accepted, as it was then."""

    id: str
    queue: str
    type: str
    state: str
    is_new: bool
    """False: this id was known, or its unique key is held by this job."""


class Item(Struct, frozen=True, kw_only=True):
    """What became of one of many jobs: accepted, or why not."""

    job: Created | None = None
    problem: Problem | None = None


class Items(Struct, frozen=True, kw_only=True):
    """What became of each of many jobs."""

    items: tuple[Item, ...]


class JobError(Struct, frozen=True, kw_only=True):
    """An error of a job."""

    type: str
    message: str


class Job(Struct, frozen=True, kw_only=True):
    """A job in a listing."""

    id: str
    queue: str
    type: str
    state: str
    priority: str
    attempt: int
    max_attempts: int
    reason: str | None
    created: datetime | None
    due: datetime | None
    finished: datetime | None
    fence: str
    """Grows with every change; given as `seen`, an action happens to the job as it was, or not at all."""


class JobDetails(Job, frozen=True, kw_only=True):
    """All that is known of one job."""

    payload: Any
    result: Any
    progress: Any
    error: JobError | None
    unique: str | None
    key: str | None
    meta: dict[str, str]
    after: tuple[str, ...]
    steps: tuple[str, ...]
    deaths: int
    cancel_requested: bool


class DeadJob(Job, frozen=True, kw_only=True):
    """A dead letter: the job, and what it died of."""

    fingerprint: str
    error: JobError


class JobPage(Struct, frozen=True, kw_only=True):
    """A page of jobs."""

    items: tuple[Job, ...]
    cursor: str | None


class DeadPage(Struct, frozen=True, kw_only=True):
    """A page of dead letters."""

    items: tuple[DeadJob, ...]
    cursor: str | None


class Group(Struct, frozen=True, kw_only=True):
    """Dead letters that died of the same."""

    fingerprint: str
    type: str
    reason: str | None
    error: JobError
    count: int
    first: datetime | None
    last: datetime | None
    example: str
    example_queue: str


class Groups(Struct, frozen=True, kw_only=True):
    """Groups of dead letters."""

    items: tuple[Group, ...]


class Done(Struct, frozen=True, kw_only=True):
    """What an action on a group did, or would do."""

    fingerprint: str
    dry_run: bool
    done: int
    skipped: int
    examined: int
    cursor: str | None


class Queue(Struct, frozen=True, kw_only=True):
    """The counts of a queue."""

    queue: str
    waiting: int
    later: int
    later_is_estimate: bool
    blocked: int
    running: int
    succeeded: int
    dead: int
    cancelled: int
    paused: bool
    oldest_ms: int | None


class Queues(Struct, frozen=True, kw_only=True):
    """The counts of every queue."""

    items: tuple[Queue, ...]


class JobEvent(Struct, frozen=True, kw_only=True):
    """One event of one job."""

    at: datetime | None
    event: str
    queue: str
    id: str
    type: str | None
    state: str
    cursor: str = ""
    """Give it as `since` to go on behind this event."""


class Gap(Struct, frozen=True, kw_only=True):
    """Events were dropped before they were read: what is known from events must be read again."""

    cursor: str = ""
