"""Every request as a value: the two clients differ only in how they send it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Generic, Literal, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Struct, UnsetType

from treadle_web.client import answers

T = TypeVar("T")

PAGE: Final = 200
_DEAD_PAGE: Final = 100


class Call(Struct, Generic[T], frozen=True, kw_only=True):
    """One request, and the type of its answer."""

    method: str
    path: str
    answer: type[T]
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    body: bytes | None = None

    def read(self, content: bytes) -> T:
        """Read an answer."""
        return msgspec.json.decode(content or b"null", type=self.answer)


class New(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A job to enqueue. What is left out is as its handler says, else as the settings say."""

    type: str
    payload: Mapping[str, Any] = {}
    id: str | UnsetType = UNSET
    queue: str | UnsetType = UNSET
    priority: Literal["critical", "high", "medium", "low"] | UnsetType = UNSET
    delay: float | UnsetType = UNSET
    """In seconds."""
    run_at: datetime | UnsetType = UNSET
    expires: datetime | UnsetType = UNSET
    retries: int | UnsetType = UNSET
    timeout: float | UnsetType = UNSET
    """In seconds."""
    unique: str | UnsetType = UNSET
    on_conflict: str | UnsetType = UNSET
    key: str | UnsetType = UNSET
    meta: Mapping[str, str] | UnsetType = UNSET


class Filter(Struct, kw_only=True, frozen=True):
    """Which jobs: what is left out matches all."""

    queue: str = ""
    state: str = ""
    type: str = ""
    reason: str = ""
    text: str = ""
    error: str = ""
    since: datetime | None = None
    until: datetime | None = None
    order: str = ""

    def query(self) -> dict[str, str]:
        """Return it as parameters of a query."""
        return {name: _text(value) for name, value in msgspec.structs.asdict(self).items() if value}


def _text(value: str | datetime) -> str:
    return value if isinstance(value, str) else value.isoformat()


def enqueue(new: New, key: str) -> Call[answers.Created]:
    """Enqueue one job."""
    return _with_body("/api/v1/jobs", new, answers.Created, key)


def enqueue_many(jobs: Sequence[New], key: str) -> Call[answers.Items]:
    """Enqueue up to 1,000 jobs."""
    return _with_body("/api/v1/jobs/batch", {"jobs": jobs}, answers.Items, key)


def _with_body(path: str, body: object, answer: type[T], key: str = "") -> Call[T]:
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Idempotency-Key"] = key
    content = msgspec.json.encode(body)
    return Call(method="POST", path=path, answer=answer, headers=headers, body=content)


def _of_job(
    method: str, rest: str, answer: type[T], id: str, queue: str, seen: str, base: str = "jobs"
) -> Call[T]:
    return Call(
        method=method,
        path=f"/api/v1/{base}/{quote(id, safe='')}{rest}",
        answer=answer,
        query={"queue": queue} if queue else {},
        headers={"If-Match": f'"{seen}"'} if seen else {},
    )


def get(id: str, queue: str) -> Call[answers.JobDetails]:
    """Read a job."""
    return _of_job("GET", "", answers.JobDetails, id, queue, "")


def cancel(id: str, queue: str, seen: str) -> Call[answers.JobDetails]:
    """Cancel a job."""
    return _of_job("POST", "/cancel", answers.JobDetails, id, queue, seen)


def retry(id: str, queue: str, seen: str) -> Call[answers.JobDetails]:
    """Start a new run of a final job."""
    return _of_job("POST", "/retry", answers.JobDetails, id, queue, seen)


def delete(id: str, queue: str, seen: str) -> Call[None]:
    """Remove a final job."""
    return _of_job("DELETE", "", type(None), id, queue, seen)


def page(chosen: Filter, cursor: str | None) -> Call[answers.JobPage]:
    """Read a page of jobs."""
    return _page("/api/v1/jobs", answers.JobPage, chosen, cursor, PAGE)


def dead_page(chosen: Filter, cursor: str | None) -> Call[answers.DeadPage]:
    """Read a page of dead letters."""
    return _page("/api/v1/dlq", answers.DeadPage, chosen, cursor, _DEAD_PAGE)


def _page(path: str, answer: type[T], chosen: Filter, cursor: str | None, limit: int) -> Call[T]:
    query = {**chosen.query(), "limit": str(limit)}
    if cursor is not None:
        query["cursor"] = cursor
    return Call(method="GET", path=path, answer=answer, query=query)


def dead_groups(chosen: Filter) -> Call[answers.Groups]:
    """Read the groups of dead letters."""
    return Call(
        method="GET", path="/api/v1/dlq/groups", answer=answers.Groups, query=chosen.query()
    )


def on_group(
    action: str, fingerprint: str, *, dry_run: bool, cursor: str | None
) -> Call[answers.Done]:
    """Retry or discard the dead letters of a group, or count them."""
    body: dict[str, object] = {"dry_run": dry_run}
    if cursor is not None:
        body["cursor"] = cursor
    path = f"/api/v1/dlq/groups/{quote(fingerprint, safe='')}/{action}"
    return _with_body(path, body, answers.Done)


def queues() -> Call[answers.Queues]:
    """Read the counts of every queue."""
    return Call(method="GET", path="/api/v1/queues", answer=answers.Queues)


def queue(name: str, action: str = "") -> Call[answers.Queue]:
    """Read the counts of one queue, or pause or resume it."""
    path = f"/api/v1/queues/{quote(name, safe='')}/{action or 'stats'}"
    return Call(method="POST" if action else "GET", path=path, answer=answers.Queue)
