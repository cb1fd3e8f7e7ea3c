"""The same id twice, at the same time: stored once, run once, and both callers hold the same job."""

from __future__ import annotations

import threading

import anyio
import pytest

from tests.support.places import Place
from treadle import Job
from treadle.domain.state import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise(3, 10)]


async def test_calls_at_the_same_time_store_it_once(place: Place) -> None:
    ran: list[str] = []

    @place.jobs.handler("mail")
    async def mail(to: str) -> str:
        ran.append(to)
        return to

    handles: list[Job[str]] = []

    async def call(to: str) -> None:
        handles.append(await mail.options(id="order-7").enqueue(to))

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(call, f"user-{number}")
    await place.burst()

    assert {handle.id for handle in handles} == {"order-7"}
    assert len(ran) == 1
    assert {await handle.result(timeout=300) for handle in handles} == set(ran)


async def test_threads_at_the_same_time_store_it_once(place: Place) -> None:
    @place.jobs.handler("mail")
    async def mail(to: str) -> str:
        return to

    ready = threading.Barrier(8)
    handles: list[Job[str]] = []

    def call(to: str) -> None:
        ready.wait(10)
        handles.append(mail.options(id="order-8").enqueue_sync(to))

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(anyio.to_thread.run_sync, call, f"user-{number}")
    worker = await place.burst()
    await anyio.to_thread.run_sync(place.jobs.close_sync)

    assert [handle.id for handle in handles] == ["order-8"] * 8
    assert worker.report.succeeded == 1


async def test_one_batch_with_the_same_id_twice_stores_it_once(place: Place) -> None:
    @place.jobs.handler("mail")
    async def mail(to: str) -> None: ...

    first = mail.options(id="twice").job("ada")
    handles = await place.jobs.client.enqueue([first, mail.options(id="twice").job("bob")])

    assert [handle.id for handle in handles] == ["twice"] * 2
    assert (await place.get("twice")).job.payload == first.payload


async def test_an_id_that_is_done_is_not_run_again(place: Place) -> None:
    @place.jobs.handler("mail")
    async def mail(to: str) -> str:
        return to

    first = await mail.options(id="once").enqueue("ada")
    await place.burst()
    second = await mail.options(id="once").enqueue("bob")
    worker = await place.burst()

    assert worker.report.claimed == 0
    assert await place.states([first.id]) == [State.SUCCEEDED]
    assert await second.result(timeout=300) == "ada"
