"""What a case needs to act as a worker: jobs to enqueue, and a session that claims and settles."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from random import Random
from typing import Any

from msgspec import structs

from treadle.broker.base import Applied, Broker, Conflict, Duplicate, Lease
from treadle.conformance.clock import DAY
from treadle.domain.decide import decide
from treadle.domain.job import At, Job, Record, Ref
from treadle.domain.outcome import (
    Change,
    Happening,
    Interrupted,
    LookedAt,
    Refused,
    RescheduleAsked,
    Succeeded,
    Write,
)

LEASE_MS = 15_000
PATIENT_MS = 365 * DAY
"""A lease for cases that let time pass for another reason."""
HANDED_BACK = Interrupted(started=False)

_numbers = itertools.count(1)


def make_job(id: str = "", **over: Any) -> Job:
    """Make a job of which only what is given matters."""
    job = Job(id=id or f"job-{next(_numbers):05}", type="test.work", payload=b'{"n":1}')
    return structs.replace(job, **over)


def ref(job: Job) -> Ref:
    """Return the identity of a job."""
    return Ref(job.queue, job.id)


def lease(record: Record) -> Lease:
    """Return the lease under which a claimed record runs."""
    return Lease(record.job.queue, record.job.id, record.head.fence)


def ids(records: Sequence[Record]) -> list[str]:
    """Return the ids of records, in their order."""
    return [record.job.id for record in records]


def write(record: Record, happening: Happening, now: int) -> Write:
    """Decide as a worker would, and insist that something is to be written."""
    decided = decide(record, happening, record.job.policy, now, Random(1))
    assert not isinstance(decided, Refused), decided.detail
    return decided


def change(record: Record, happening: Happening, now: int) -> Change:
    """Decide as a worker would, where the answer is a change of the head."""
    decided = write(record, happening, now)
    assert isinstance(decided, Change)
    return decided


async def stored(broker: Broker, *jobs: Job) -> None:
    """Enqueue jobs, each of which must be accepted."""
    for answer in (await broker.enqueue(jobs)).results:
        assert isinstance(answer, Applied), answer


async def known(broker: Broker, job: Job | Ref) -> Record:
    """Return the record of a job that must be there."""
    asked = job if isinstance(job, Ref) else ref(job)
    (record,) = await broker.get([asked])
    assert record is not None, f"{asked} is gone"
    return record


async def act(
    broker: Broker, record: Record, happening: Happening
) -> Applied | Conflict | Duplicate:
    """Decide about a record as it was seen, and apply the decision."""
    now = (await broker.apply([])).now
    (answer,) = (await broker.apply([write(record, happening, now)])).results
    return answer


async def reschedule(broker: Broker, job: Job, at: int, body: Job | None = None) -> None:
    """Move a waiting job to another instant."""
    answer = await act(broker, await known(broker, job), RescheduleAsked(due=At(at), job=body))
    assert isinstance(answer, Applied)


async def look_around(broker: Broker) -> int:
    """Decide about every blocked job that is due for a look; return how many there were."""
    blocked = [
        record for record in (await broker.overdue(1_000)).records if not record.head.claimed
    ]
    for record in blocked:
        parents = await broker.get(record.edges)
        seen = [
            (edge, None if parent is None else parent.head.state)
            for edge, parent in zip(record.edges, parents, strict=True)
        ]
        await act(broker, record, LookedAt(parents=tuple(seen)))
    return len(blocked)


class Hand:
    """One worker: a session on a broker."""

    def __init__(self, broker: Broker, session: str) -> None:
        self.broker = broker
        self.session = session

    @classmethod
    async def open(cls, broker: Broker, name: str = "worker", lease_ms: int = PATIENT_MS) -> Hand:
        """Open a session under `name`."""
        return cls(broker, (await broker.open(name, lease_ms, b"{}")).session)

    async def claim(
        self, limit: int = 100, queues: Sequence[str] = ("default",), wait_ms: int = 0
    ) -> list[Record]:
        """Claim what is due."""
        return list((await self.broker.claim(self.session, queues, limit, wait_ms)).records)

    async def claim_one(self, *queues: str) -> Record:
        """Claim the one job that must be due."""
        (record,) = await self.claim(1, queues or ("default",))
        return record

    async def end(self, record: Record, outcome: Happening) -> Applied:
        """Settle an attempt, which must be accepted."""
        answer = await act(self.broker, record, outcome)
        assert isinstance(answer, Applied), answer
        return answer

    async def run(self, job: Job, outcome: Happening | None = None) -> Record:
        """Enqueue a job, run it to the outcome, and return its record."""
        await stored(self.broker, job)
        record = await self.claim_one(job.queue)
        assert record.job.id == job.id
        await self.end(record, outcome or Succeeded(result=b'"done"'))
        return await known(self.broker, job)
