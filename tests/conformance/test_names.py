"""The kit catches brokers that cut names, or mix up long ones that are nearly the same."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import anyio
import pytest
from msgspec import structs

from treadle.broker.base import Broker, Enqueued, Filter, Opened, Order, Page
from treadle.broker.memory import MemoryBroker
from treadle.conformance import Result, Subject, run_cases
from treadle.domain.job import Job

SHORT = 50


class CutsIds(MemoryBroker):
    """Keeps the beginning of an id, as a column that is too narrow does."""

    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        """Store jobs under shorter ids."""
        return await super().enqueue([structs.replace(job, id=job.id[:SHORT]) for job in jobs])


class CutsTypes(MemoryBroker):
    """Keeps the beginning of a type."""

    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        """Store jobs under shorter types."""
        return await super().enqueue([structs.replace(job, type=job.type[:SHORT]) for job in jobs])


class CutsSessions(MemoryBroker):
    """Keeps the beginning of the name of a worker."""

    async def open(self, name: str, lease_ms: int, info: bytes) -> Opened:
        """Open a session under a shorter name."""
        return await super().open(name[:SHORT], lease_ms, info)


class DropsNul(MemoryBroker):
    """Loses what stands behind a NUL, as a C string does."""

    async def open(self, name: str, lease_ms: int, info: bytes) -> Opened:
        """Open a session under what is left of its name."""
        return await super().open(name.partition("\0")[0], lease_ms, info)


class CutsQueuesOfPauses(MemoryBroker):
    """Pauses the queues whose names begin alike."""

    async def pause(self, queue: str, paused: bool) -> None:
        """Pause the queue, and its neighbour."""
        for last in "ab":
            await super().pause(queue[:-1] + last, paused)


class SearchesBeginnings(MemoryBroker):
    """Lists by the beginning of a text."""

    async def find(
        self,
        filter: Filter,
        *,
        order: Order = Order.NEWEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        """List what a shorter filter finds."""
        shorter = structs.replace(filter, text=filter.text[:SHORT])
        return await super().find(shorter, order=order, cursor=cursor, limit=limit)


class CutsKeysOfLimits(MemoryBroker):
    """Keeps the beginning of a concurrency key where its limit is set."""

    async def set_limit(self, key: str, running: int | None) -> None:
        """Limit a shorter key."""
        await super().set_limit(key[:SHORT], running)


class CutsUniqueKeys(MemoryBroker):
    """Keeps the beginning of a unique key."""

    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        """Store jobs with shorter keys; those that differ only at the end are the same then."""
        return await super().enqueue([self._cut(job) for job in jobs])

    def _cut(self, job: Job) -> Job:
        if job.unique is None:
            return job
        unique = structs.replace(job.unique, key=job.unique.key[:SHORT])
        return structs.replace(job, unique=unique)


@pytest.mark.parametrize(
    ("make", "case"),
    [
        (CutsIds, "C131"),
        (CutsTypes, "C131"),
        (CutsSessions, "C132"),
        (DropsNul, "C131"),
        (CutsQueuesOfPauses, "C132"),
        (SearchesBeginnings, "C132"),
        (CutsKeysOfLimits, "C133"),
        (CutsUniqueKeys, "C133"),
    ],
)
def test_a_broker_that_does_not_keep_long_names_is_caught(make: type[Broker], case: str) -> None:
    subject = Subject("memory://", make=make)

    (row,) = anyio.run(partial(run_cases, subject, backends=["asyncio"], ids=[case]))

    assert row.result is Result.FAILED
