"""Contract rows about running jobs: slots, types, results, dead letters, time limits, middleware."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.places import Place
from tests.support.works import Works
from treadle import Jobs
from treadle.broker.base import Filter
from treadle.domain.outcome import Outcome
from treadle.domain.state import Shown, State
from treadle.errors import JobDead, UnknownType
from treadle.runtime.attempt import Attempt, Next
from treadle.runtime.middleware import log_attempts, recover, time_limit
from treadle.runtime.signature import Payload
from treadle.settings import load
from treadle.testing.virtual import LoopClock, virtual_backends

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parents[2] / "examples" / "payloads.jsonl"


@pytest.mark.contract("F01")
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_ten_slots_run_ten_jobs_at_the_same_time(place: Place, kind: str) -> None:
    """Each job waits for nine others; what that means in seconds is shown on virtual time."""
    together = threading.Barrier(10, timeout=300)
    count, all_there = 0, anyio.Event()

    if kind == "async":

        @place.jobs.handler("meet")
        async def meet() -> None:
            nonlocal count
            count += 1
            if count == 10:
                all_there.set()
            await all_there.wait()

    else:

        @place.jobs.handler("meet")
        def meet_in_threads() -> None:
            together.wait()

    ids = [await place.store("meet") for _ in range(10)]

    async with place.worker(concurrency=10):
        records = await place.until_final(*ids)

    assert {record.head.state for record in records} == {State.SUCCEEDED}
    assert [len(record.history) for record in records] == [1] * 10


@pytest.mark.contract("F01")
@pytest.mark.parametrize("anyio_backend", virtual_backends()[:1], ids=["virtual"])
async def test_ten_slots_run_ten_jobs_of_one_second_in_less_than_two(anyio_backend: Any) -> None:
    works = Works(LoopClock())

    @works.registry.handler("second")
    async def second() -> None:
        await anyio.sleep(1)

    ids = [await works.enqueue("second") for _ in range(10)]
    began = works.clock.time_ms()

    async with works.worker(concurrency=10):
        records = await works.until_final(*ids)

    assert max(record.head.finished for record in records) - began < 2_000


@pytest.mark.contract("F02", "R09")
@pytest.mark.parametrize(("retries", "attempts"), [(None, 4), (0, 1), (2, 3)])
async def test_a_job_that_fails_is_tried_again_as_often_as_it_says_and_then_dead(
    place: Place, retries: int | None, attempts: int
) -> None:
    @place.jobs.handler("fail")
    async def fail() -> None:
        raise ValueError("no")

    job = await (fail if retries is None else fail.options(retry=retries)).enqueue()
    for _ in range(8):
        await place.burst()
        place.clock.advance(3_600_000)

    record = await place.get(job.id)
    assert (record.head.state, record.head.reason) == (State.DEAD, "exhausted")
    assert (record.head.attempt, len(record.history)) == (attempts, attempts)


@pytest.mark.contract("F11")
async def test_an_unknown_type_is_refused_by_the_application_that_does_not_know_it(
    place: Place,
) -> None:
    @place.jobs.handler("email.send")
    async def send() -> None: ...

    with pytest.raises(UnknownType, match=r"Did you mean 'email\.send'"):
        place.jobs.find("email.sned")


@pytest.mark.contract("F14")
async def test_the_value_or_the_error_is_stored_with_the_job(place: Place) -> None:
    @place.jobs.handler("work", retry=0)
    async def work(well: bool) -> dict[str, str]:
        if not well:
            raise ValueError("the printer is on fire")
        return {"message": "done"}

    good, bad = await work.enqueue(True), await work.enqueue(False)
    await place.burst()

    assert await good.result(timeout=300) == {"message": "done"}
    with pytest.raises(JobDead, match="the printer is on fire") as caught:
        await bad.result(timeout=300)
    assert "ValueError: the printer is on fire" in caught.value.remote_traceback
    assert (await good.refresh()).state is Shown.SUCCEEDED
    record = (await bad.refresh()).record
    assert record is not None
    assert record.history[-1].error is not None
    assert record.history[-1].error.type == "ValueError"


@pytest.mark.contract("F15")
async def test_any_json_object_is_a_payload_and_arrives_as_it_was(place: Place) -> None:
    seen: dict[str, Any] = {}
    lines = EXAMPLES.read_text(encoding="utf-8").splitlines()
    wanted = {json.loads(line)["task"]: json.loads(line) for line in lines}

    async def keep(payload: Payload) -> Payload:
        seen[payload["task"]] = payload
        return payload

    for task in wanted:
        place.jobs.handler(task)(keep)
    jobs = {task: await place.jobs.find(task).enqueue(wanted[task]) for task in wanted}
    await place.burst()

    assert len(wanted) == 10
    assert seen == wanted
    assert {task: await job.result(timeout=300) for task, job in jobs.items()} == wanted


@pytest.mark.contract("F24", "R03")
async def test_a_dead_job_is_listed_read_and_retried_by_its_id(place: Place) -> None:
    broken = True

    @place.jobs.handler("work", retry=0)
    async def work() -> str:
        if broken:
            raise ValueError("not yet")
        return "now"

    job = await work.enqueue()
    await place.burst()
    (listed,) = (await place.broker.find(Filter(state=Shown.DEAD))).records
    assert listed.job.id == job.id

    broken = False
    await (await place.jobs.get(job.id)).retry()
    await place.burst()

    assert await job.result(timeout=300) == "now"
    assert list((await place.broker.find(Filter(state=Shown.DEAD))).records) == []
    assert [row.event for row in (await place.get(job.id)).history] == ["fail", "retry", "succeed"]


@pytest.mark.contract("F28")
async def test_recovery_logging_timeout_and_own_middleware_keep_their_order(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    order: list[str] = []

    async def own(attempt: Attempt, call_next: Next) -> Outcome:
        order.append(attempt.job.type)
        if attempt.job.type == "broken":
            raise RuntimeError("the middleware broke")
        return await call_next(attempt)

    for layer in (log_attempts(), recover, time_limit(0.1), own):
        place.jobs.use(layer)

    @place.jobs.handler("broken", retry=0)
    async def broken() -> None: ...

    @place.jobs.handler("slow", retry=0)
    async def slow() -> None:
        await anyio.sleep(60)

    jobs = [await broken.enqueue(), await slow.enqueue()]
    with caplog.at_level("INFO", "treadle.job"):
        await place.burst(concurrency=1)

    records = [await place.get(job.id) for job in jobs]
    assert [record.head.state for record in records] == [State.DEAD] * 2
    assert [record.head.reason for record in records] == ["exhausted", "timeout"]
    assert order == ["broken", "slow"]
    # The log stands outside: it sees what recovery and the time limit made of it.
    lines = [vars(each) for each in caplog.records if each.message == "job_ended"]
    assert [line["job_id"] for line in lines] == [job.id for job in jobs]
    assert "the middleware broke" in lines[0]["error"]
    assert "TimeoutError" in lines[1]["error"]


@pytest.mark.contract("F29")
async def test_the_default_time_limit_and_the_poll_interval_come_from_the_environment(
    place: Place,
) -> None:
    environ = {"JOB_DEFAULT_TIMEOUT": "100ms", "WORKER_POLL_INTERVAL": "2s"}
    settings = load(folder=place.folder, environ=environ)
    jobs = Jobs("memory://", settings=settings)

    @jobs.handler("slow", retry=0)
    async def slow() -> None:
        await anyio.sleep(60)

    async with jobs:
        job = await slow.enqueue()
        worker = jobs.worker(name="w1", burst=True)
        await worker.run()
        with pytest.raises(JobDead) as caught:
            await job.result(timeout=300)

    assert caught.value.reason == "timeout"
    assert worker.options.poll_ms == 2_000
