"""Acting on one job: on what stands, or, with If-Match, only on what the caller saw."""

from __future__ import annotations

import re
from typing import Any, Final

from treadle.broker.base import Applied, Conflict, Duplicate
from treadle.domain.decide import decide
from treadle.domain.job import Record, Ref
from treadle.domain.limits import JOB_ID
from treadle.domain.outcome import CancelAsked, DiscardAsked, Refused, RetryAsked
from treadle.errors import IllegalTransition, JobNotFound, KeyHeld, TreadleError
from treadle.runtime.client import Done, done
from treadle_web.operation import Ask
from treadle_web.problems import Refusal, invalid
from treadle_web.requests import given

Asked = CancelAsked | RetryAsked | DiscardAsked
HEADER: Final = "If-Match"
_TAG: Final = re.compile(r'"(\d{1,20})"')


class _NoChance:
    """Requests of people draw no jitter."""

    def random(self) -> float:
        return 0.0


async def ref_of(ask: Ask[Any, Any]) -> Ref:
    """Return the job that a path names, in a queue that the caller may use.

    Raises:
        JobNotFound: if no job can have this id.
        Refusal: 403 if the queue is not for this token.
    """
    job_id = ask.path["id"]
    if JOB_ID.fullmatch(job_id) is None:
        raise JobNotFound("no job has such an id: letters, digits and _ . : / - only, 1 to 128")
    queue, allowed = given(ask.query.queue), ask.who.queues
    if queue is not None or allowed is None:
        return Ref(ask.within(queue) or "", job_id)
    refs = [Ref(one, job_id) for one in sorted(allowed)]
    found = await (await ask.web.broker()).get(refs)
    return next((record.ref for record in found if record is not None), refs[0])


async def act(ask: Ask[Any, Any], asked: Asked, event: str) -> None:
    """Let something happen to the job of a path, and write to the audit log that it did.

    Raises:
        JobNotFound, IllegalTransition, KeyHeld: if it cannot happen.
        Refusal: 412 if the job is not as the caller saw it.
    """
    ask.audit_jobs(event, [await _act(ask, asked)])


async def _act(ask: Ask[Any, Any], asked: Asked) -> Done:
    ref, tag = await ref_of(ask), ask.request.headers.get(HEADER, "*").strip()
    if tag == "*":
        (answer,) = await ask.web.client.ask([ref], asked)
        if isinstance(answer, TreadleError):
            raise answer
        return answer
    found = _TAG.fullmatch(tag)
    if found is None:
        raise invalid(f'{HEADER} is the ETag of a job, such as "3", or *', f"$header.{HEADER}")
    return await _under(ask, ref, asked, int(found[1]))


async def _under(ask: Ask[Any, Any], ref: Ref, asked: Asked, fence: int) -> Done:
    """Write once, under the fence that the caller saw, or not at all."""
    record = await ask.web.client.get(ref)
    if record.forgotten:
        raise JobNotFound(f"job {ref.id} ended and its record was purged")
    if record.head.fence != fence:
        raise _moved_on(record)
    now = await ask.web.now()
    decided = decide(record, asked, record.job.policy, now, _NoChance())
    if isinstance(decided, Refused):
        raise IllegalTransition(decided.detail)
    (result,) = (await (await ask.web.broker()).apply([decided])).results
    match result:
        case Applied():
            return done(record, decided, now)
        case Duplicate(record=holder):
            raise KeyHeld(f"job {holder.job.id} holds the unique key of job {ref.id} now")
        case Conflict(record=standing):
            raise _moved_on(standing or record)


def _moved_on(record: Record) -> Refusal:
    text = f"job {record.job.id} changed since: its fence is {record.head.fence} now"
    return Refusal(412, "precondition_failed", text, headers={"ETag": etag(record)})


def etag(record: Record) -> str:
    """Return the tag under which a caller may act on what it saw."""
    return f'"{record.head.fence}"'
