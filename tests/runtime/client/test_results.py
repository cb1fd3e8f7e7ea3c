"""Waiting for results: values, named errors, and lost events."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from msgspec import structs

from tests.support.clients import ERROR, ONCE, PLAIN, Shop, enqueue, make_job
from treadle.domain.job import Ref
from treadle.domain.outcome import Cancelled, Failed, Succeeded
from treadle.domain.state import Shown
from treadle.errors import (
    BrokerUnavailable,
    JobCancelled,
    JobDead,
    JobNotFound,
    ResultGone,
    ResultTimeout,
)
from treadle.runtime.client import Client
from treadle.runtime.handle import Job

pytestmark = pytest.mark.anyio


async def test_a_result_is_waited_for_and_decoded_by_type(shop: Shop, client: Client) -> None:
    job = await enqueue(client)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shop.run)

        assert await job.result(timeout=5) == ("email.send", 42)


async def test_a_job_without_a_result_gives_none(shop: Shop, client: Client) -> None:
    job = await enqueue(client)
    await shop.run(Succeeded())

    assert await job.result() is None


async def test_a_dead_job_raises_with_the_traceback_of_the_worker(
    shop: Shop, client: Client
) -> None:
    job = await enqueue(client, policy=ONCE)
    await shop.run(Failed(error=ERROR))

    with pytest.raises(
        JobDead, match="exhausted after 1 attempts: ValueError: no such address"
    ) as caught:
        await job.result()

    assert (caught.value.id, caught.value.reason) == ("job-1", "exhausted")
    assert caught.value.remote_traceback == "Traceback: line 1"
    assert any("Traceback: line 1" in note for note in caught.value.__notes__)


async def test_a_cancelled_job_raises(shop: Shop, client: Client) -> None:
    job = await enqueue(client)
    await shop.run(Cancelled(detail="not wanted"))

    with pytest.raises(JobCancelled, match=r"job job-1 .* is cancelled"):
        await job.result()


@pytest.mark.parametrize("timeout", [0, 0.5, 7])
async def test_a_result_that_does_not_come_in_time_is_a_timeout(
    client: Client, timeout: float
) -> None:
    job = await enqueue(client)
    started = anyio.current_time()

    with pytest.raises(ResultTimeout, match="was not final after"):
        await job.result(timeout=timeout)

    assert anyio.current_time() - started == pytest.approx(timeout)
    assert (await job.refresh()).state is Shown.QUEUED


async def test_a_final_job_is_told_at_once_with_no_time_at_all(shop: Shop, client: Client) -> None:
    job = await enqueue(client)
    await shop.run()

    assert await job.result(timeout=0) == ("email.send", 42)


async def test_a_purged_result_is_gone(shop: Shop, client: Client) -> None:
    job = await enqueue(client, policy=structs.replace(PLAIN, retention_ms=1_000))
    await shop.run()
    await anyio.sleep(2)
    await shop.hand.purge(10)

    with pytest.raises(ResultGone, match="its result is no longer kept"):
        await job.result()


async def test_the_result_of_a_job_nobody_knows_is_gone(shop: Shop, client: Client) -> None:
    job = await enqueue(client, policy=structs.replace(PLAIN, retention_ms=0, remember_ms=0))
    await shop.run()
    await anyio.sleep(1)
    await shop.hand.purge(10)
    await shop.hand.purge(10)

    with pytest.raises(ResultGone):
        await job.result()
    with pytest.raises(JobNotFound):
        await client.result(Ref("default", "job-1"))


async def test_a_result_is_found_although_its_event_was_lost(shop: Shop, client: Client) -> None:
    job = await enqueue(client)
    shop.arrived.silent_events = True
    started = anyio.current_time()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_run_after, shop, 1.0)
        assert await job.result() == ("email.send", 42)

    assert anyio.current_time() - started <= 4


async def _run_after(shop: Shop, seconds: float) -> None:
    await anyio.sleep(seconds)
    await shop.run()


@pytest.mark.promise(9)
async def test_who_waits_for_a_result_waits_out_an_outage(shop: Shop, client: Client) -> None:
    job = await enqueue(client)

    async def outage() -> None:
        await anyio.sleep(1)
        shop.faults.cut("get")
        await anyio.sleep(20)
        await shop.run()
        shop.faults.mend()

    started = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outage)
        assert await job.result(timeout=300) == ("email.send", 42)

    assert 21 <= anyio.current_time() - started <= 22


async def test_a_broker_that_was_never_there_is_told_at_once(shop: Shop, client: Client) -> None:
    job = await enqueue(client)
    shop.faults.cut("get")

    with pytest.raises(BrokerUnavailable):
        await job.result(timeout=300)


async def test_many_can_wait_for_results_and_some_give_up(shop: Shop, client: Client) -> None:
    jobs = await client.enqueue([make_job(f"job-{n:02}") for n in range(50)])
    got: list[str] = []
    late: list[str] = []

    async def wait(job: Job[Any], timeout: float) -> None:
        try:
            await job.result(timeout=timeout)
            got.append(job.id)
        except ResultTimeout:
            late.append(job.id)

    async with anyio.create_task_group() as tasks:
        for number, job in enumerate(jobs):
            tasks.start_soon(wait, job, 0.5 if number < 10 else 1_000)
        await anyio.sleep(1)
        for _ in jobs:
            await shop.run()
            await anyio.sleep(0.01)

    assert (len(got), len(late)) == (40, 10)
