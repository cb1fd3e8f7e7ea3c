"""Enqueueing over HTTP: one job, or many in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from treadle.domain.job import At, Job
from treadle.errors import NotAccepted, TreadleError
from treadle.runtime.handle import Job as Handle
from treadle_web.idempotency import (
    HEADER,
    REPLAYED,
    Created,
    first_answers,
    first_state,
    is_keyed,
    key_of,
    keyed,
)
from treadle_web.making import make_job
from treadle_web.operation import Ask, Nothing, Reply, Scope, operation, reply
from treadle_web.problems import Problem, Refusal, refusal_of
from treadle_web.requests import NewJob, NewJobs
from treadle_web.web import Web


class Item(Struct, frozen=True, kw_only=True):
    """What became of one of many jobs: accepted, or why not."""

    job: Created | None = None
    problem: Problem | None = None


class Items(Struct, frozen=True, kw_only=True):
    """What became of each job, in the order of the request."""

    items: tuple[Item, ...]


@operation(
    "POST",
    "/api/v1/jobs",
    scope=Scope.ENQUEUE,
    body=NewJob,
    answer=Created,
    status=(201, 200),
    headers=(HEADER,),
    problems=(409, 507),
)
async def create_job(ask: Ask[Nothing, NewJob]) -> Reply:
    """Enqueue a job; 201 when it is stored, 200 if the job that is told was there before."""
    job = make_job(ask.web, ask.body)
    ask.within(job.queue)
    key = key_of(ask)
    if key:
        if isinstance(ask.body.id, UnsetType):
            job = keyed(job, ask.who.name, key, 0)
        (first,) = await first_answers(await ask.web.broker(), [job])
        if first is not None:
            return reply(first, 201, {REPLAYED: "true", **_place(ask, first)})
    (handle,) = await ask.web.client.enqueue([job], checked=True)
    told = await _told_meanwhile(ask, [job], [handle]) if key else {}
    if (first := told.get(job.id)) is not None:
        return reply(first, 201, {REPLAYED: "true", **_place(ask, first)})
    created = _created(ask.web, job, handle)
    return reply(created, 201 if created.is_new else 200, _place(ask, created))


@operation(
    "POST",
    "/api/v1/jobs/batch",
    scope=Scope.ENQUEUE,
    body=NewJobs,
    answer=Items,
    headers=(HEADER,),
)
async def create_jobs(ask: Ask[Nothing, NewJobs]) -> Reply:
    """Enqueue up to 1,000 jobs; each is accepted or refused by itself."""
    jobs = [_numbered(ask.web, new, place) for place, new in enumerate(ask.body.jobs)]
    for queue in {job.queue for job in jobs}:
        ask.within(queue)
    key = key_of(ask)
    first: Sequence[Created | None] = [None] * len(jobs)
    if key:
        named = [new.id is not UNSET for new in ask.body.jobs]
        jobs = [
            job if own else keyed(job, ask.who.name, key, place)
            for place, (job, own) in enumerate(zip(jobs, named, strict=True))
        ]
        first = await first_answers(await ask.web.broker(), jobs)
    wanted = [job for job, told in zip(jobs, first, strict=True) if told is None]
    offered = await ask.web.client.offer(wanted) if wanted else []
    raced = await _told_meanwhile(ask, wanted, offered) if key else {}
    answers = iter(
        Item(job=raced[job.id]) if job.id in raced else _item(ask.web, job, answer)
        for job, answer in zip(wanted, offered, strict=True)
    )
    items = [next(answers) if told is None else Item(job=told) for told in first]
    headers = {REPLAYED: "true"} if len(raced) == len(wanted) else {}
    return reply(Items(items=tuple(items)), 200, headers)


async def _told_meanwhile(
    ask: Ask[Any, Any], jobs: Sequence[Job], answers: Sequence[Handle[Any] | NotAccepted]
) -> dict[str, Created]:
    """Return the first answers about jobs that came under the same key at the same time, and were faster.

    Raises:
        Refusal: 422 if they came with other content.
    """
    met = [
        job
        for job, answer in zip(jobs, answers, strict=True)
        if is_keyed(job)
        and isinstance(answer, Handle)
        and (answer.id, answer.is_new) == (job.id, False)
    ]
    if not met:
        return {}
    found = await first_answers(await ask.web.broker(), met)
    return {job.id: told for job, told in zip(met, found, strict=True) if told is not None}


def _numbered(web: Web, new: NewJob, place: int) -> Job:
    at = f"$.jobs[{place}]"
    try:
        return make_job(web, new, at)
    except Refusal:
        raise
    except TreadleError as error:
        refusal = refusal_of(error)
        raise Refusal(refusal.status, refusal.code, refusal.detail, path=at) from None


def _item(web: Web, job: Job, answer: Handle[Any] | NotAccepted) -> Item:
    if isinstance(answer, NotAccepted):
        return Item(problem=refusal_of(answer).problem())
    return Item(job=_created(web, job, answer))


def _created(web: Web, job: Job, handle: Handle[Any]) -> Created:
    # None: a reply was lost and the same content is there, so it is ours as far as anybody can tell.
    is_new = handle.is_new is not False
    now = web.client.now_ms() if isinstance(job.due, At) else 0
    state = first_state(job, now) if is_new else handle.state
    return Created(id=handle.id, queue=handle.queue, type=handle.type, state=state, is_new=is_new)


def _place(ask: Ask[Any, Any], created: Created) -> dict[str, str]:
    path = str(ask.request.scope["path"]).rstrip("/")
    return {"Location": f"{path}/{created.id.replace('/', '%2F')}?queue={created.queue}"}


OPERATIONS = (create_job, create_jobs)
