"""Real brokers that break a promise are caught by the history of their calls alone."""

# ruff: noqa: ARG002 - a bad broker ignores what it is asked.

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import pytest
from msgspec import structs

from tests.conformance.play import Play, Site
from treadle.broker.base import Applied, Broker, Claimed, Enqueued, Lease, Overdue, Pulse, Settled
from treadle.broker.url import parse
from treadle.conformance.clock import MovableClock
from treadle.conformance.history import check
from treadle.conformance.layer import Layer
from treadle.domain.job import NOW, Job, Priority, Record
from treadle.domain.outcome import CancelRequest, Change, Write
from treadle.domain.state import State
from treadle.plugins import make_broker

pytestmark = pytest.mark.anyio

T = TypeVar("T")


@pytest.fixture
def anyio_backend() -> str:
    """Run on one event loop: nothing here depends on it."""
    return "asyncio"


class Bad(Layer):
    """A good broker inside, and one broken promise on the outside."""

    def another(self) -> Broker:
        return type(self)(self.inner.another())

    async def carry(self, call: str, run: Callable[[], Awaitable[T]]) -> T:
        return await run()


class LosesJobs(Bad):
    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        kept = [job for job in jobs if not job.id.endswith("7")]
        enqueued = await self.inner.enqueue(kept)
        results = iter(enqueued.results)
        told = [next(results) if job in kept else Applied(fence=1) for job in jobs]
        return structs.replace(enqueued, results=told)


class IgnoresPauses(Bad):
    async def pause(self, queue: str, paused: bool) -> None: ...


class IgnoresPriorities(Bad):
    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        equal = [structs.replace(job, priority=Priority.LOW) for job in jobs]
        return await self.inner.enqueue(equal)


class IgnoresDelays(Bad):
    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        return await self.inner.enqueue([structs.replace(job, due=NOW) for job in jobs])


class IgnoresLimits(Bad):
    async def set_limit(self, key: str, running: int | None) -> None: ...


class IgnoresUniqueKeys(Bad):
    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        return await self.inner.enqueue([structs.replace(job, unique=None) for job in jobs])


class IgnoresParents(Bad):
    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        return await self.inner.enqueue([structs.replace(job, after=()) for job in jobs])


class ForgetsFollowUps(Bad):
    async def apply(self, writes: Sequence[Write]) -> Settled:
        return await self.inner.apply(
            [structs.replace(w, follow_ups=()) if isinstance(w, Change) else w for w in writes]
        )


class IgnoresTheFence(Bad):
    async def apply(self, writes: Sequence[Write]) -> Settled:
        settled = await self.inner.apply(writes)
        said = [Applied(fence=write.fence + isinstance(write, Change)) for write in writes]
        return structs.replace(settled, results=said)


class CountsHandBacks(Bad):
    async def apply(self, writes: Sequence[Write]) -> Settled:
        counted = [
            structs.replace(write, attempt=write.attempt + 1)
            if isinstance(write, Change) and write.event == "interrupt"
            else write
            for write in writes
        ]
        return await self.inner.apply(counted)


class ForgetsCancelRequests(Bad):
    async def apply(self, writes: Sequence[Write]) -> Settled:
        settled = await self.inner.apply([w for w in writes if not isinstance(w, CancelRequest)])
        results = iter(settled.results)
        said = [
            Applied(fence=write.fence) if isinstance(write, CancelRequest) else next(results)
            for write in writes
        ]
        return structs.replace(settled, results=said)


class GivesLeasesAway(Bad):
    """It names everything overdue that runs."""

    given: tuple[Record, ...] = ()

    async def claim(
        self, session: str, queues: Sequence[str], limit: int, wait_ms: int = 0
    ) -> Claimed:
        claimed = await self.inner.claim(session, queues, limit, wait_ms)
        type(self).given = tuple(claimed.records)
        return claimed

    async def overdue(self, limit: int) -> Overdue:
        overdue = await self.inner.overdue(limit)
        found = await self.inner.get([record.ref for record in self.given])
        runs = [one for one in found if one is not None and one.head.state is State.RUNNING]
        return structs.replace(overdue, records=(*overdue.records, *runs))


class RenewsNothing(Bad):
    async def heartbeat(self, session: str, held: Sequence[Lease]) -> Pulse:
        return Pulse(now=(await self.inner.apply([])).now)


class KeepsNothing(Bad):
    """It drops final records as soon as anybody purges."""

    async def apply(self, writes: Sequence[Write]) -> Settled:
        return await self.inner.apply(
            [structs.replace(w, due=NOW) if isinstance(w, Change) else w for w in writes]
        )


@pytest.mark.parametrize(
    ("kind", "law"),
    [
        (LosesJobs, "H01"),
        (IgnoresPauses, "H13"),
        (IgnoresPriorities, "H16"),
        (IgnoresDelays, "H19"),
        (IgnoresLimits, "H21"),
        (IgnoresUniqueKeys, "H14"),
        (IgnoresParents, "H20"),
        (ForgetsFollowUps, "H01"),
        (IgnoresTheFence, "H08"),
        (CountsHandBacks, "H06"),
        (ForgetsCancelRequests, "H22"),
        (GivesLeasesAway, "H15"),
        (RenewsNothing, "H15"),
        (KeepsNothing, "H23"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_a_broker_that_breaks_a_promise_is_caught(kind: type[Bad], law: str) -> None:
    caught: set[str] = set()
    for seed in range(12):
        clock = MovableClock()
        site = Site(kind(make_broker(parse("memory://"), clock)), clock)
        play = Play(site, seed)
        for _ in range(200):
            await play.step()
        await site.broker.scan()
        caught |= {violation.law for violation in check(site.broker.history.calls)}
        if law in caught:
            return

    assert law in caught
