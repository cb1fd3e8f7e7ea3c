"""Many jobs in one call: what is stored together is the same as if it came one by one."""

from __future__ import annotations

import pytest

from treadle.broker.base import Applied, Broker, Duplicate, Filter
from treadle.conformance.clock import MovableClock
from treadle.conformance.hand import Hand, ids, make_job, ref, stored
from treadle.domain.job import After, At, Job, Policy, Priority
from treadle.domain.state import Shown, State

pytestmark = pytest.mark.anyio


def _mixed(clock: MovableClock) -> list[Job]:
    """Return jobs of eight kinds, one after the other, again and again."""
    policies = [Policy(), Policy(max_attempts=1)]
    kinds = [
        {"type": "a", "policy": policies[0]},
        {"type": "a", "policy": policies[1]},
        {"type": "b", "queue": "mail"},
        {"type": "b", "priority": Priority.HIGH},
        {"type": "b", "due": After(60_000)},
        {"type": "b", "due": At(clock.time_ms() - 5_000), "expires": At(clock.time_ms() + 5_000)},
        {"type": "b", "key": "one at a time"},
        {"type": "b", "meta": {"trace": "1"}, "run_anyway": True},
    ]
    payloads = [
        b"{}",
        b'{"n": 1}',
        b"",
        b"\x00\xff",
        b'{"text": "%s"}' % ("\U0001f9f5" * 9).encode(),
    ]
    return [
        make_job(f"job-{n}", payload=payloads[n % 5], **kinds[n % 8])  # type: ignore[arg-type]
        for n in range(80)
    ]


async def test_jobs_that_differ_come_back_as_they_were_given(
    broker: Broker, clock: MovableClock
) -> None:
    jobs = _mixed(clock)

    await stored(broker, *jobs)

    found = await broker.get([ref(job) for job in jobs])
    assert [record.job for record in found if record is not None] == jobs
    assert {record.head.state for record in found if record is not None} == {State.WAITING}


async def test_different_policies_do_not_change_the_order_of_a_queue(
    broker: Broker, hand: Hand
) -> None:
    policies = [Policy(), Policy(max_attempts=1)]
    jobs = [make_job(f"job-{n}", policy=policies[n % 2]) for n in range(40)]

    await stored(broker, *jobs)

    assert ids(await hand.claim(40)) == [job.id for job in jobs]


async def test_the_second_of_two_jobs_with_one_id_is_a_duplicate(broker: Broker) -> None:
    jobs = [make_job(f"job-{n % 9}") for n in range(10)]

    results = (await broker.enqueue(jobs)).results

    assert [n for n, one in enumerate(results) if isinstance(one, Duplicate)] == [9]
    (counts,) = (await broker.stats()).queues
    assert counts.waiting == 9


async def test_many_jobs_stand_behind_those_that_are_due_and_before_those_that_are_not(
    broker: Broker, hand: Hand, clock: MovableClock
) -> None:
    await stored(broker, make_job("later", due=After(60_000)), make_job("first"))
    jobs = [make_job(f"job-{n}") for n in range(1_100)]

    await stored(broker, *jobs[:50])
    await stored(broker, *jobs[50:])
    clock.advance(60_000)
    await stored(broker, *[make_job(f"last-{n}") for n in range(10)])

    claimed = ids(await hand.claim(2_000))
    assert claimed[:1_101] == ["first", *(job.id for job in jobs)]
    assert set(claimed[1_101:]) == {"later", *(f"last-{n}" for n in range(10))}


async def test_many_jobs_are_listed_newest_first_and_told_in_order(broker: Broker) -> None:
    start = (await broker.events(None)).cursor
    jobs = [make_job(f"job-{n}") for n in range(30)]

    await stored(broker, *jobs)

    page = await broker.find(Filter(queue="default", state=Shown.QUEUED))
    assert [record.job.id for record in page.records] == [job.id for job in reversed(jobs)]
    told = (await broker.events(start)).entries
    assert [entry.id for entry in told] == [job.id for job in jobs]


async def test_one_of_many_that_is_known_leaves_the_others_alone(broker: Broker) -> None:
    await stored(broker, make_job("known"))
    jobs = [make_job(f"job-{n}") for n in range(10)]
    jobs[7] = make_job("known")

    results = (await broker.enqueue(jobs)).results

    assert [n for n, one in enumerate(results) if isinstance(one, Duplicate)] == [7]
    assert sum(isinstance(one, Applied) for one in results) == 9
    (counts,) = (await broker.stats()).queues
    assert counts.waiting == 10


async def test_an_id_with_a_nul_is_kept_whole_among_others(broker: Broker) -> None:
    jobs = [make_job(f"job-{n}") for n in range(10)] + [make_job("a\x00b")]

    await stored(broker, *jobs)

    found = await broker.get([ref(job) for job in jobs])
    assert [record.job.id for record in found if record is not None] == [job.id for job in jobs]
