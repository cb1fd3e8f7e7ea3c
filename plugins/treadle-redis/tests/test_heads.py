"""The heads that scripts compute, the plainest without parsing a record, are those of the domain."""

from __future__ import annotations

from random import Random
from uuid import UUID

import pytest
from treadle_redis import RedisBroker

from treadle.broker.values import Applied
from treadle.conformance.hand import Hand, change, make_job
from treadle.domain.head import claimed, first, replaced
from treadle.domain.job import NOW, After, At, ErrorInfo, Head, Job, OnCrash, Policy, Priority, Ref
from treadle.domain.outcome import Change, Failed, Happening, Interrupted, Snoozed, Succeeded
from treadle.domain.retry import Fixed
from treadle.domain.state import State
from treadle.domain.unique import Scope, Unique

HOUR = 3_600_000
JOBS, ROUNDS = 40, 4
POLICIES = (
    Policy(retry=Fixed(delay_ms=0)),
    Policy(retry=Fixed(delay_ms=0), retention_ms=None, remember_ms=7 * HOUR),
    Policy(retry=Fixed(delay_ms=HOUR), max_attempts=2, on_crash=OnCrash.DEAD),
)
BROKEN = ErrorInfo(type="app.Broken", message="a \N{BROKEN HEART}")
ENDS: tuple[Happening, ...] = (
    Succeeded(ran_ms=7),
    Succeeded(result=b'"' + b"r" * 300 + b'"', ran_ms=7),
    Succeeded(result=b""),
    Failed(error=BROKEN, kinds=("app.Broken",)),
    Failed(error=BROKEN, retry_after=After(0)),
    Failed(error=BROKEN, give_up=True),
    Snoozed(due=After(0)),
    Interrupted(delay_ms=0),
    Interrupted(started=False),
)

pytestmark = pytest.mark.anyio


def _job(random: Random, number: int, *, is_plain: bool) -> Job:
    named = random.choice((f"job-{number}", str(UUID(int=random.getrandbits(128)))))
    unique = Unique(
        key=f"key {number}", scope=random.choice(tuple(Scope)), period_ms=random.choice((0, HOUR))
    )
    return make_job(
        named,
        priority=random.choice(tuple(Priority)),
        payload=b'{"p":"%b"}' % (b"x" * random.randrange(500)),
        policy=random.choice(POLICIES),
        due=random.choice((NOW, NOW, NOW, At(5), At(0), After(HOUR))),
        expires=None if is_plain else random.choice((None, After(HOUR))),
        key="" if is_plain else random.choice(("", "slot")),
        unique=None if is_plain else random.choice((None, unique)),
    )


async def _insist(broker: RedisBroker, jobs: list[Job], heads: dict[str, Head]) -> None:
    """Compare what is stored with what must be."""
    found = await broker.get([Ref(job.queue, job.id) for job in jobs])
    for job, record in zip(jobs, found, strict=True):
        assert record is not None
        assert record.job == job
        assert record.head == heads[job.id]


@pytest.mark.parametrize("is_plain", [True, False], ids=["plain", "any"])
@pytest.mark.parametrize("seed", range(3))
async def test_the_scripts_come_to_the_heads_of_the_domain(
    broker: RedisBroker, seed: int, is_plain: bool
) -> None:
    random = Random(seed)
    hand = await Hand.open(broker)
    if not is_plain:
        await broker.set_queue_limit("default", JOBS)  # so that no insert is a plain one
    jobs = [_job(random, number, is_plain=is_plain) for number in range(JOBS)]

    enqueued = await broker.enqueue(jobs)
    heads = {job.id: first(job, enqueued.now, 1) for job in jobs}
    assert all(answer == Applied(fence=1) for answer in enqueued.results)
    await _insist(broker, jobs, heads)
    for _ in range(ROUNDS):
        taken = await broker.claim(hand.session, ("default",), JOBS)
        due = {
            name
            for name, head in heads.items()
            if head.state is State.WAITING and head.due <= taken.now
        }
        assert {record.job.id for record in taken.records} == due
        for record in taken.records:
            heads[record.job.id] = claimed(heads[record.job.id], hand.session, taken.now)
            assert record.head == heads[record.job.id]
            assert record.job in jobs
        await _insist(broker, jobs, heads)

        writes = [change(one, random.choice(ENDS), taken.now) for one in taken.records]
        settled = await broker.apply(writes)
        for write, answer in zip(writes, settled.results, strict=True):
            heads[write.id] = replaced(heads[write.id], write, settled.now)
            assert answer == Applied(fence=heads[write.id].fence)
        await _insist(broker, jobs, heads)
        await _insist_on_the_rest(broker, writes)

    assert {State.SUCCEEDED, State.DEAD} <= {head.state for head in heads.values()}


async def _insist_on_the_rest(broker: RedisBroker, writes: list[Change]) -> None:
    """Compare results and the last history rows with what was written."""
    found = await broker.get([Ref(write.queue, write.id) for write in writes])
    for write, record in zip(writes, found, strict=True):
        assert record is not None
        assert record.result == write.result
        if write.history is not None:
            assert record.history[-1] == write.history
