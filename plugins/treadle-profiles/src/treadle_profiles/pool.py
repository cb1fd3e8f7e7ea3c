"""`pool`: a worker pool in memory, jobs by type, with an activity log."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from treadle.cli.views import instant
from treadle.domain.job import Record
from treadle.profile import Asked, Nothing, Profile, endpoint
from treadle_profiles import store
from treadle_profiles.activity import read_lines
from treadle_profiles.store import DAY_S, Retries, retries, status, text, updated

WORDS = store.words(
    waits="PENDING", runs="PROCESSING", retrying="RETRY", ended="DONE", dead="FAILED"
)


class NewJob(Struct, frozen=True, kw_only=True):
    """A job to run."""

    type: str
    payload: str
    max_retries: Retries | None = None


class Accepted(Struct, frozen=True, kw_only=True):
    """The job was taken."""

    job_id: str
    status: str
    message: str


class PoolJob(Struct, frozen=True, kw_only=True):
    """A job."""

    id: str
    type: str
    payload: Any
    status: str
    retry_count: int
    max_retries: int
    created_at: str | None
    updated_at: str | None


class Health(Struct, frozen=True, kw_only=True):
    """That it works."""

    status: str
    service: str


def shown(asked: Asked[Any, Any], record: Record) -> PoolJob:
    """Show a job."""
    return PoolJob(
        id=record.job.id,
        type=record.job.type,
        payload=text(asked, record),
        status=status(record, WORDS),
        retry_count=retries(record),
        max_retries=record.job.policy.max_attempts - 1,
        created_at=instant(record.created),
        updated_at=instant(updated(record)),
    )


@endpoint("POST", "/jobs", body=NewJob, answer=Accepted)
async def add_job(asked: Asked[Nothing, NewJob]) -> Accepted:
    """Enqueue a job of a known type."""
    now = datetime.fromtimestamp(asked.client.now_ms() / 1_000, UTC)
    record = await store.put(
        asked,
        asked.body.type,
        msgspec.json.encode({"payload": asked.body.payload}),
        ids=lambda: f"{now:%Y%m%d%H%M%S}-{secrets.token_hex(3)}",
        retries=asked.body.max_retries,
        retention=DAY_S,
    )
    return Accepted(job_id=record.job.id, status="PENDING", message="the job waits for a worker")


@endpoint("GET", "/jobs", answer=list[PoolJob])
async def list_jobs(asked: Asked[Nothing, None]) -> list[PoolJob]:
    """List the newest 1,000 jobs, the newest first."""
    return [shown(asked, record) for record in await store.newest(asked, store.MOST)]


@endpoint("GET", "/jobs/{id}", answer=PoolJob)
async def read_job(asked: Asked[Nothing, None]) -> PoolJob:
    """Show one job."""
    return shown(asked, await store.read(asked, asked.path["id"]))


@endpoint("GET", "/logs", answer=list[str])
async def read_logs(asked: Asked[Nothing, None]) -> list[str]:
    """Tell what happened, the oldest first: the last 1,000 lines."""
    return await read_lines(asked, WORDS)


@endpoint("GET", "/health", answer=Health)
async def health(asked: Asked[Nothing, None]) -> Health:
    """Tell that it works, and its store too."""
    await asked.client.stats()
    return Health(status="OK", service="go-job-queue")


def profile() -> Profile:
    """Return the profile."""
    return Profile(
        name="pool",
        summary="a worker pool in memory, with an activity log",
        endpoints=(add_job, list_jobs, read_job, read_logs, health),
        defaults={"url": "memory://", "worker.concurrency": 3, "web.buffer": 100},
        app="treadle.cli.demo.pool:jobs",
    )
