"""`submit`: hand in a text, ask how it stands."""

from __future__ import annotations

from random import Random
from typing import Any, Final

import msgspec
from msgspec import Struct

from treadle import Context, Jobs, exponential
from treadle.cli.demo.pool import simulate
from treadle.cli.views import instant
from treadle.profile import Asked, Nothing, Profile, endpoint
from treadle.runtime.ids import new_id
from treadle_profiles import store
from treadle_profiles.store import DAY_S, status, text

jobs = Jobs()

TYPE: Final = "submit"
WORDS = store.words(waits="PENDING", runs="PROCESSING", ended="DONE", dead="FAILED")


class NewJob(Struct, frozen=True, kw_only=True):
    """What shall be worked on."""

    payload: str


class Submitted(Struct, frozen=True, kw_only=True):
    """The job was taken."""

    job_id: str


class Status(Struct, frozen=True, kw_only=True):
    """How a job stands."""

    id: str
    status: str
    created_at: str | None
    payload: Any


@jobs.handler(TYPE, retry=exponential(base=0.2, cap=1))
async def work(ctx: Context, payload: str) -> str:
    """Work for 1 to 3 seconds; one attempt in seven fails."""
    await simulate(ctx, jobs.settings, Random(ctx.job_id).uniform(1, 3))
    return f"done: {payload}"


@endpoint("POST", "/submit", body=NewJob, answer=Submitted)
async def submit(asked: Asked[Nothing, NewJob]) -> Submitted:
    """Enqueue a job."""
    data = msgspec.json.encode(asked.body)
    record = await store.put(asked, TYPE, data, ids=new_id, retention=DAY_S)
    return Submitted(job_id=record.job.id)


@endpoint("GET", "/status/{id}", answer=Status)
async def read_status(asked: Asked[Nothing, None]) -> Status:
    """Tell how a job stands."""
    record = await store.read(asked, asked.path["id"], type=TYPE)
    return Status(
        id=record.job.id,
        status=status(record, WORDS),
        created_at=instant(record.created),
        payload=text(asked, record),
    )


def profile() -> Profile:
    """Return the profile."""
    return Profile(
        name="submit",
        summary="hand in a text, ask how it stands",
        endpoints=(submit, read_status),
        defaults={"url": "memory://"},
        app="treadle_profiles.submit:jobs",
    )
