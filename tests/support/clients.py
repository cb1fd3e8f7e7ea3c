"""A place to use clients in tests: a memory broker at the end of a way, its clock, and a hand that works."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
from msgspec import structs

from tests.support.faulty import Arrived, Counted
from treadle.broker.base import Applied, Clock, Durability
from treadle.broker.memory import MemoryBroker
from treadle.broker.url import parse
from treadle.conformance.faults import Faults, FaultyBroker
from treadle.domain.decide import decide
from treadle.domain.job import ErrorInfo, Job, Policy, Record
from treadle.domain.outcome import Happening, Refused, Succeeded
from treadle.domain.unique import OnConflict, Unique
from treadle.runtime.client import Client
from treadle.runtime.handle import Job as Handle

PLAIN = Policy()
ONCE = Policy(max_attempts=1)
ERROR = ErrorInfo(type="ValueError", message="no such address", traceback="Traceback: line 1")


def make_job(id: str = "job-1", **over: Any) -> Job:
    """Make a job that a client can enqueue."""
    return structs.replace(Job(id=id, type="email.send"), **over)


async def enqueue(client: Client, id: str = "job-1", **over: Any) -> Handle[Any]:
    """Enqueue one job and return its handle."""
    (job,) = await client.enqueue([make_job(id, **over)])
    return job


def held(on_conflict: OnConflict) -> Unique:
    """Ask for the one unique key of these tests."""
    return Unique(key="ada", on_conflict=on_conflict)


class Shop:
    """Clients enqueue, `run` does a worker's part: claim one job and settle it as it is told."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.faults = Faults()
        self.arrived = Arrived()
        store = Counted(MemoryBroker(parse("memory://"), clock), self.arrived)
        self.root = FaultyBroker(store, self.faults)
        self.hand = self.root.another()
        self._session = ""

    def client(self, *, payload_limit: int = 1_000, durability: Durability | None = None) -> Client:
        """Make a client of the shop."""
        return Client(
            self.root.another,
            clock=self.clock,
            rng=Random(3),
            decode=lambda name, data: (name, msgspec.json.decode(data)),
            payload_limit=payload_limit,
            durability=durability,
        )

    async def claim(self) -> Record:
        """Claim the next job, as a worker does."""
        if not self._session:
            self._session = (await self.hand.open("shop", 3_600_000, b"{}")).session
        (record,) = (await self.hand.claim(self._session, ["default"], 1, 60_000)).records
        return record

    async def settle(self, record: Record, happening: Happening) -> None:
        """Settle a claimed job, as a worker does."""
        decided = decide(record, happening, record.job.policy, self.clock.time_ms(), Random(3))
        assert not isinstance(decided, Refused)
        assert isinstance((await self.hand.apply([decided])).results[0], Applied)

    async def run(self, happening: Happening | None = None) -> Record:
        """Claim the next job and settle it; without more it succeeds with the result 42."""
        record = await self.claim()
        await self.settle(record, happening or Succeeded(result=b"42"))
        return record
