"""The header Idempotency-Key: a request that is sent again is answered as the first one was.

Theory of operation. The ids of the jobs follow from the key and from who asks, so nothing is remembered here:
the broker stores an id once, also when two servers get the same request at the same time, and knows it for 24
hours after the job is final. An answer tells only what was decided when the job was stored, so it can be
told again. A key that comes back with other content is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct, structs

from treadle.broker.base import Broker
from treadle.domain.job import NOW, After, At, Job, Record, Ref
from treadle.domain.state import Shown
from treadle_web.operation import Ask
from treadle_web.problems import Refusal, invalid

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
_LONGEST: Final = 255
_KEY: Final = re.compile(rf"[!-~]{{1,{_LONGEST}}}")
_REMEMBERED_MS: Final = 24 * 3_600_000
_PREFIX: Final = "idem:"


class Created(Struct, frozen=True, kw_only=True):
    """A job that was accepted, as it was then."""

    id: str
    queue: str
    type: str
    state: Shown
    is_new: bool
    """False: this id was known, or its unique key is held by this job."""


def key_of(ask: Ask[Any, Any]) -> str:
    """Return the key of a request; "" if it has none.

    Raises:
        Refusal: 422.
    """
    key = ask.request.headers.get(HEADER)
    if key is None:
        return ""
    if not _KEY.fullmatch(key):
        text = f"{HEADER} is 1 to {_LONGEST} characters of ASCII without spaces"
        raise invalid(text, f"$header.{HEADER}")
    return key


def keyed(job: Job, who: str, key: str, place: int) -> Job:
    """Give a job without an id of its own the id that follows from a key."""
    text = "\0".join((who, key, str(place)))
    digest = hashlib.blake2b(text.encode(), digest_size=20).hexdigest()
    policy = structs.replace(job.policy, remember_ms=_REMEMBERED_MS)
    return structs.replace(job, id=f"{_PREFIX}{digest}", policy=policy)


def is_keyed(job: Job) -> bool:
    """Tell whether the id of a job follows from a key."""
    return job.id.startswith(_PREFIX)


async def first_answers(broker: Broker, jobs: Sequence[Job]) -> list[Created | None]:
    """Return what was answered about jobs that are there; None for each that is not.

    Raises:
        Refusal: 422 if one of them has other content.
    """
    # The id that follows from a key is of one request, whatever its queue; an own id is one in its queue.
    refs = [Ref("" if is_keyed(job) else job.queue, job.id) for job in jobs]
    records = await broker.get(refs)
    pairs = zip(jobs, records, strict=True)
    return [None if record is None else _first(job, record) for job, record in pairs]


def _first(job: Job, record: Record) -> Created:
    if record.forgotten:
        if record.job.queue != job.queue:
            raise _reused(job)
        return Created(
            id=job.id, queue=job.queue, type=job.type, state=first_state(job, 0), is_new=True
        )
    if not _same(job, record.job):
        raise _reused(job)
    return Created(
        id=job.id,
        queue=job.queue,
        type=job.type,
        state=first_state(record.job, record.created),
        is_new=True,
    )


def _same(job: Job, stored: Job) -> bool:
    plain = structs.replace(stored, payload=job.payload, policy=job.policy)
    if plain != job:
        return False
    return job.payload == stored.payload or _value(job.payload) == _value(stored.payload)


def _value(payload: bytes) -> object:
    return msgspec.json.decode(payload)


def _reused(job: Job) -> Refusal:
    text = f"this {HEADER} was used for another request: job {job.id} has other content"
    return invalid(text, f"$header.{HEADER}", "idempotency_key_reused")


def first_state(job: Job, now: int) -> Shown:
    """Name the state in which a job was stored at `now`."""
    if job.after:
        return Shown.BLOCKED
    match job.due:
        case After(ms=ms):
            return Shown.SCHEDULED if ms > NOW.ms else Shown.QUEUED
        case At(ms=ms):
            return Shown.SCHEDULED if ms > now else Shown.QUEUED
