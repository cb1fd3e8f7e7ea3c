"""`jqs`: any JSON object is a job, under a serial number, and its result is kept."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from treadle import Context, JobNotFound, Jobs, Payload
from treadle.cli.demo.pool import simulate
from treadle.cli.views import instant, last_error
from treadle.domain.job import Record
from treadle.profile import Asked, Nothing, Profile, endpoint
from treadle_profiles import store
from treadle_profiles.store import Object, payload, result, status, updated

jobs = Jobs()

TYPE: Final = "jqs"
_LOOK_AT: Final = 20
WORDS = store.words(waits="queued", runs="processing", ended="completed", dead="failed")


class Row(Struct, frozen=True, kw_only=True):
    """A job."""

    id: int
    payload: Any
    status: str
    result: Any
    created_at: str | None
    updated_at: str | None


class Paged(Struct, frozen=True, kw_only=True):
    """Which page of the list, the newest jobs first."""

    page: Annotated[int, Meta(ge=1, le=1_000)] = 1
    limit: Annotated[int, Meta(ge=1, le=100)] = 10


@jobs.handler(TYPE)
async def work(ctx: Context, whole: Payload) -> dict[str, str]:
    """Work for half a second to a second and a half, on anything."""
    await simulate(ctx, jobs.settings, Random(ctx.job_id).uniform(0.5, 1.5), 0)
    return {"message": f"{whole.get('task', 'job')} was processed"}


def shown(asked: Asked[Any, Any], record: Record) -> Row:
    """Show a job; the result of one that failed is its error."""
    error = last_error(record) if status(record, WORDS) == "failed" else None
    return Row(
        id=int(record.job.id),
        payload=payload(asked, record),
        status=status(record, WORDS),
        result=result(asked, record) if error is None else {"error": error.message or error.type},
        created_at=instant(record.created),
        updated_at=instant(updated(record)),
    )


class Serial:
    """The next numbers: on behind the newest job, whoever made it."""

    def __init__(self) -> None:
        self._next: count[int] | None = None

    async def begin(self, asked: Asked[Any, Any]) -> None:
        """Look where the numbers stand, once."""
        if self._next is None:
            found = await store.newest(asked, _LOOK_AT, type=TYPE)
            last = max((int(one.job.id) for one in found if one.job.id.isdecimal()), default=0)
            self._next = count(last + 1)  # a number that is taken meanwhile is passed over

    def __call__(self) -> str:
        """Return the next number as text."""
        return str(next(self._next or count(1)))


@endpoint("GET", "/jobs", query=Paged, answer=list[Row])
async def list_jobs(asked: Asked[Paged, None]) -> list[Row]:
    """List a page of jobs, the newest first."""
    page, limit = asked.query.page, asked.query.limit
    found = await store.newest(asked, limit, skip=(page - 1) * limit, type=TYPE)
    return [shown(asked, record) for record in found if record.job.id.isdecimal()]


@endpoint("GET", "/jobs/{id}", answer=Row)
async def read_job(asked: Asked[Nothing, None]) -> Row:
    """Show one job."""
    number = asked.path["id"]
    if not number.isdecimal():
        raise JobNotFound(f"no job {number!r}: ids are numbers")
    return shown(asked, await store.read(asked, number, type=TYPE))


@endpoint("GET", "/health", media_type="text/plain")
async def health(asked: Asked[Nothing, None]) -> str:
    """Tell that it works, and its store too."""
    await asked.client.stats()
    return "OK"


def profile() -> Profile:
    """Return the profile, with numbers of its own."""
    serial = Serial()

    @endpoint("POST", "/jobs", body=Object, answer=Row)
    async def add_job(asked: Asked[Nothing, Any]) -> Row:
        """Enqueue a job: the body is its payload."""
        await serial.begin(asked)
        record = await store.put(
            asked, TYPE, bytes(asked.body), ids=serial, retention=None, dead_retention=None
        )
        return shown(asked, store.as_added(record))

    return Profile(
        name="jqs",
        summary="any JSON object is a job, and its result is kept",
        endpoints=(add_job, list_jobs, read_job, health),
        defaults={"worker.concurrency": 5, "job.retries": 0},
        app="treadle_profiles.jqs:jobs",
    )
