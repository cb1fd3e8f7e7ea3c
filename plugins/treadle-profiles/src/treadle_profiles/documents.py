"""`documents`: job documents in camel case, kept in a store."""

from __future__ import annotations

import secrets
from typing import Any

from msgspec import Struct

from treadle import Context, Jobs, Payload, exponential
from treadle.cli.demo import pool
from treadle.cli.views import instant
from treadle.domain.job import Record
from treadle.profile import Asked, Nothing, Profile, endpoint
from treadle_profiles import store
from treadle_profiles.store import Object, Retries, payload, retries, status, updated

jobs = Jobs()

WORDS = store.words(waits="pending", runs="processing", ended="completed", dead="failed")


class NewJob(Struct, frozen=True, kw_only=True, rename="camel"):
    """A job to run."""

    type: str
    payload: Object
    max_retries: Retries | None = None


class Document(Struct, frozen=True, kw_only=True, rename="camel"):
    """A job."""

    id: str
    type: str
    payload: Any
    status: str
    retry_count: int
    created_at: str | None
    updated_at: str | None


class Which(Struct, frozen=True, kw_only=True):
    """Which job; without an id the last 50."""

    id: str | None = None


def shown(asked: Asked[Any, Any], record: Record) -> Document:
    """Show a job."""
    return Document(
        id=record.job.id,
        type=record.job.type,
        payload=payload(asked, record),
        status=status(record, WORDS),
        retry_count=retries(record),
        created_at=instant(record.created),
        updated_at=instant(updated(record)),
    )


async def _work(ctx: Context, whole: Payload) -> str:
    await pool.simulate(ctx, jobs.settings, pool.seconds(ctx.type, ctx.job_id), 0)
    return f"{ctx.type}: {', '.join(whole)}"


for kind in pool.SECONDS:
    jobs.handler(kind, retry=exponential(base=0.2, cap=1))(_work)


@endpoint("POST", "/jobs", body=NewJob, answer=Document, status=201)
async def add_job(asked: Asked[Nothing, NewJob]) -> Document:
    """Enqueue a job of a known type."""
    record = await store.put(
        asked,
        asked.body.type,
        bytes(asked.body.payload),
        ids=lambda: f"{asked.client.now_ms() // 1_000:08x}{secrets.token_hex(8)}",
        retries=asked.body.max_retries,
        at="$.payload",
        retention=None,
        dead_retention=None,
    )
    return shown(asked, store.as_added(record))


@endpoint("GET", "/jobs", query=Which, answer=Document | list[Document])
async def read_jobs(asked: Asked[Which, None]) -> Document | list[Document]:
    """Show one job, or the last 50, the newest first."""
    if asked.query.id is not None:
        return shown(asked, await store.read(asked, asked.query.id))
    return [shown(asked, record) for record in await store.newest(asked, 50)]


def profile() -> Profile:
    """Return the profile."""
    return Profile(
        name="documents",
        summary="job documents in camel case, kept in a store",
        endpoints=(add_job, read_jobs),
        defaults={"worker.concurrency": 5, "web.buffer": 100},
        app="treadle_profiles.documents:jobs",
    )
