"""What people ask of jobs: cancel, retry, discard, another time."""

from __future__ import annotations

import anyio
import pytest

from tests.support.clients import ERROR, ONCE, Shop, enqueue, held, make_job
from treadle.conformance.faults import Fault
from treadle.domain.job import After, Ref
from treadle.domain.outcome import Failed
from treadle.domain.state import Shown
from treadle.domain.unique import OnConflict
from treadle.errors import (
    IllegalTransition,
    JobNotFound,
    KeyHeld,
    ResultGone,
)
from treadle.runtime.client import Client, Done

pytestmark = pytest.mark.anyio


async def test_a_waiting_job_is_cancelled_at_once(client: Client) -> None:
    job = await enqueue(client)

    await job.cancel()

    assert job.state is Shown.CANCELLED


async def test_the_worker_of_a_running_job_is_asked_to_cancel_it(
    shop: Shop, client: Client
) -> None:
    job = await enqueue(client)
    await shop.claim()

    await job.cancel()
    await job.cancel()

    assert job.state is Shown.RUNNING
    assert job.record is not None
    assert job.record.head.cancel


async def test_a_final_job_cannot_be_cancelled(shop: Shop, client: Client) -> None:
    job = await enqueue(client)
    await shop.run()

    with pytest.raises(IllegalTransition, match="is succeeded: it cannot cancel"):
        await job.cancel()


async def test_a_dead_job_can_be_retried(shop: Shop, client: Client) -> None:
    job = await enqueue(client, policy=ONCE)
    await shop.run(Failed(error=ERROR))

    await job.retry()
    assert job.state is Shown.QUEUED
    await shop.run()

    assert await job.result() == ("email.send", 42)


async def test_a_retry_whose_unique_key_was_taken_meanwhile_is_refused(
    shop: Shop, client: Client
) -> None:
    first = await enqueue(client, "first", unique=held(OnConflict.REJECT))
    await shop.run()
    await enqueue(client, "second", unique=held(OnConflict.REJECT))

    with pytest.raises(KeyHeld, match="job second holds its unique key 'ada' now"):
        await first.retry()


async def test_a_final_job_can_be_discarded(shop: Shop, client: Client) -> None:
    job = await enqueue(client)
    await shop.run()

    await client.discard(Ref("default", "job-1"))

    with pytest.raises(JobNotFound, match="its record was purged"):
        await client.cancel(Ref("default", "job-1"))
    with pytest.raises(ResultGone):
        await job.result()


async def test_a_waiting_job_can_be_moved_in_time(client: Client) -> None:
    job = await enqueue(client)

    await client.reschedule(Ref("default", "job-1"), After(60_000))

    assert (await job.refresh()).state is Shown.SCHEDULED


async def test_an_unknown_job_is_named(client: Client) -> None:
    for ask in (client.cancel, client.retry, client.discard, client.get):
        with pytest.raises(JobNotFound, match="no job nobody in queue default"):
            await ask(Ref("default", "nobody"))


async def test_many_can_be_asked_at_once_and_each_is_answered_for(
    shop: Shop, client: Client
) -> None:
    from treadle.domain.outcome import CancelAsked

    jobs = await client.enqueue([make_job(f"job-{n:04}") for n in range(1_200)])
    await shop.run()
    refs = [Ref(job.queue, job.id) for job in jobs]

    answers = await client.ask([*refs, Ref("", "nobody")], CancelAsked(by="me"))

    assert isinstance(answers[0], IllegalTransition)
    assert isinstance(answers[-1], JobNotFound)
    assert answers[1:-1] == [Done(ref=ref, before="queued", after="cancelled") for ref in refs[1:]]
    (queue,) = (await client.stats()).queues
    assert queue.cancelled == 1_199


@pytest.mark.promise(4)
async def test_who_is_second_decides_again_with_what_stands(shop: Shop, client: Client) -> None:
    job = await enqueue(client, policy=ONCE)
    await shop.run(Failed(error=ERROR))
    told: list[str] = []

    async def retry() -> None:
        try:
            await job.retry()
            told.append("retried")
        except IllegalTransition:
            told.append("too late")

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(retry)

    record = await client.get(Ref("default", "job-1"))
    assert "retried" in told
    assert [row.event for row in record.history].count("retry") == 1


@pytest.mark.promise(4)
async def test_a_write_whose_reply_was_lost_counts_as_done(shop: Shop, client: Client) -> None:
    job = await enqueue(client)
    await client.stats()
    shop.faults.script("apply", Fault.RESENT)

    await job.cancel()

    assert job.state is Shown.CANCELLED
