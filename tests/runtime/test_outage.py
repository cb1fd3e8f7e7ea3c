"""A broker that goes away, loses requests or replies: the worker goes on, nothing is lost or doubled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import anyio
import pytest

from tests.support.virtual import LoopClock
from tests.support.works import Works
from treadle.broker.base import Claimed, Lease, Overdue, Pulse, Settled, Turned
from treadle.broker.memory import MemoryBroker
from treadle.broker.memory.store import Store
from treadle.broker.url import BrokerUrl, parse
from treadle.domain.job import Job
from treadle.domain.outcome import Write
from treadle.domain.state import State
from treadle.errors import BrokerUnavailable

pytestmark = pytest.mark.anyio


class Line:
    """The state of the line to the broker, shared by all its users."""

    def __init__(self) -> None:
        self.down = False
        self.lost_replies: Counter[str] = Counter()
        """So many next replies of a call get lost; the call itself is carried out."""

    def request(self) -> None:
        if self.down:
            raise BrokerUnavailable("cannot reach the broker: connection refused")

    def reply(self, call: str) -> None:
        if self.lost_replies[call]:
            self.lost_replies[call] -= 1
            raise BrokerUnavailable(f"connection lost during {call}")


class DistantBroker(MemoryBroker):
    """The memory broker at the other end of a line."""

    def __init__(
        self, url: BrokerUrl, clock: LoopClock, line: Line, store: Store | None = None
    ) -> None:
        super().__init__(url, clock, store)
        self.line = line

    def another(self) -> DistantBroker:
        assert isinstance(self._clock, LoopClock)
        return DistantBroker(self.url, self._clock, self.line, self._store)

    async def claim(
        self, session: str, queues: Sequence[str], limit: int, wait_ms: int = 0
    ) -> Claimed:
        self.line.request()
        claimed = await super().claim(session, queues, limit, wait_ms)
        self.line.request()
        self.line.reply("claim")
        return claimed

    async def turn(
        self, session: str, writes: Sequence[Write], queues: Sequence[str], limit: int
    ) -> Turned:
        self.line.request()
        turned = await super().turn(session, writes, queues, limit)
        self.line.reply("turn")
        return turned

    async def apply(self, writes: Sequence[Write]) -> Settled:
        self.line.request()
        settled = await super().apply(writes)
        self.line.reply("apply")
        return settled

    async def heartbeat(self, session: str, held: Sequence[Lease]) -> Pulse:
        self.line.request()
        return await super().heartbeat(session, held)

    async def overdue(self, limit: int) -> Overdue:
        self.line.request()
        return await super().overdue(limit)


@pytest.fixture
def line(works: Works) -> Line:
    """The line between the worker and its broker."""
    line = Line()
    works.broker = DistantBroker(parse("memory://"), works.clock, line)
    return line


@pytest.mark.promise(9)
async def test_a_worker_outlives_an_outage_and_settles_what_ended_meanwhile(
    works: Works, line: Line
) -> None:
    @works.registry.handler("work")
    async def work() -> str:
        await anyio.sleep(20)
        return "done"

    id = await works.enqueue("work")

    async with works.worker() as worker:
        await works.until_running(id)
        line.down = True
        await anyio.sleep(60)  # virtual: four leases long
        line.down = False
        back = works.clock.time_ms()
        (record,) = await works.until_final(id)

    assert record.head.state is State.SUCCEEDED
    assert record.head.finished - back <= 3_000
    assert [row.event for row in record.history] == ["succeed"]
    assert worker.report.lease_lost == 0


@pytest.mark.promise(9)
async def test_claims_resume_within_three_seconds_after_an_outage(works: Works, line: Line) -> None:
    @works.registry.handler("work")
    async def work() -> None: ...

    async with works.worker():
        line.down = True
        await anyio.sleep(120)  # virtual
        job = Job(id="late", type="work")
        await works.broker.enqueue([job])
        line.down = False
        back = works.clock.time_ms()
        (record,) = await works.until_final("late")

    assert record.head.claimed - back <= 3_000


@pytest.mark.promise(4)
async def test_a_settle_whose_reply_was_lost_is_recognised_as_its_own(
    works: Works, line: Line
) -> None:
    runs: list[str] = []

    @works.registry.handler("work")
    async def work(name: str) -> None:
        runs.append(name)

    ids = [await works.enqueue("work", b'{"name": "%d"}' % n) for n in range(20)]
    line.lost_replies.update({"turn": 2, "apply": 2})

    async with works.worker(concurrency=4) as worker:
        records = await works.until_final(*ids)

    assert {record.head.state for record in records} == {State.SUCCEEDED}
    assert sorted(runs) == sorted(str(n) for n in range(20))
    assert worker.report.lease_lost == 0


@pytest.mark.promise(1, 4)
async def test_a_claim_whose_reply_was_lost_is_handed_back_and_run_once(
    works: Works, line: Line
) -> None:
    runs: list[int] = []

    @works.registry.handler("work")
    async def work() -> None:
        runs.append(1)

    line.lost_replies["claim"] = 1
    id = await works.enqueue("work")

    async with works.worker() as worker:
        (record,) = await works.until_final(id)

    assert (len(runs), worker.report.orphans) == (1, 1)
    assert (record.head.attempt, record.head.deaths) == (1, 0)
    assert record.head.claimed - record.created <= 13_000


@pytest.mark.promise(9)
async def test_jobs_of_a_living_worker_are_not_declared_lost_after_an_outage(
    works: Works, line: Line
) -> None:
    starts: list[str] = []

    @works.registry.handler("long")
    async def long() -> None:
        starts.append("start")
        await anyio.sleep(200)

    id = await works.enqueue("long")

    async with works.worker(name="owner"):
        await works.until_running(id)
        async with works.worker(name="sweeper"):
            line.down = True
            await anyio.sleep(100)  # virtual
            line.down = False
            (record,) = await works.until_final(id)

    assert starts == ["start"]
    assert (record.head.state, record.head.deaths) == (State.SUCCEEDED, 0)
