"""A worker runs jobs: outcomes, retries, time limits, cancels, drain."""

from __future__ import annotations

import random
from typing import Any, cast

import anyio
import pytest

from tests.support.logs import told
from tests.support.works import Works
from treadle.domain.decide import decide
from treadle.domain.job import After, Job, Policy, Priority
from treadle.domain.outcome import CancelAsked, CancelRequest, Failed, Outcome, Succeeded
from treadle.domain.retry import Fixed
from treadle.domain.selection import Ordered
from treadle.domain.state import State
from treadle.runtime.attempt import Attempt, Next
from treadle.runtime.context import Context
from treadle.runtime.signals import Cancel, GiveUp, Retry, Snooze

pytestmark = pytest.mark.anyio

QUICK = Policy(retry=Fixed(delay_ms=1_000))


async def test_a_job_that_returns_is_succeeded_with_its_result(works: Works) -> None:
    @works.registry.handler("add")
    async def add(a: int, b: int = 1) -> int:
        return a + b

    id = await works.enqueue("add", b'{"a": 2}')

    worker = await works.burst()

    record = await works.get(id)
    assert (record.head.state, record.result, record.head.attempt) == (State.SUCCEEDED, b"3", 1)
    assert worker.report.succeeded == 1


@pytest.mark.contract("F02", "F03")
async def test_a_job_that_always_fails_is_dead_after_its_last_attempt(works: Works) -> None:
    seen: list[int] = []

    @works.registry.handler("fail")
    async def fail(ctx: Context) -> None:
        seen.append(ctx.attempt)
        raise ValueError("no")

    id = await works.enqueue("fail", policy=QUICK)

    async with works.worker():
        (record,) = await works.until_final(id)

    assert seen == [1, 2, 3, 4]
    assert (record.head.state, record.head.reason) == (State.DEAD, "exhausted")
    assert [row.event for row in record.history] == ["fail"] * 4
    assert record.history[0].error is not None
    assert "ValueError" in record.history[0].error.traceback


async def test_a_handler_may_ask_for_its_own_delay_give_up_snooze_or_cancel(works: Works) -> None:
    @works.registry.handler("again")
    async def again(ctx: Context) -> str:
        if ctx.attempt == 1:
            raise Retry(after=5)
        return "ok"

    @works.registry.handler("stop")
    async def stop() -> None:
        raise GiveUp("no such user")

    naps: list[int] = []

    @works.registry.handler("nap")
    async def nap(ctx: Context) -> str:
        naps.append(ctx.attempt)
        if len(naps) < 6:
            raise Snooze(after=60)
        return "awake"

    @works.registry.handler("quit")
    async def leave() -> None:
        raise Cancel("not wanted")

    ids = [await works.enqueue(name) for name in ("again", "stop", "nap", "quit")]

    async with works.worker():
        records = await works.until_final(*ids)

    states = [record.head.state for record in records]
    assert states == [State.SUCCEEDED, State.DEAD, State.SUCCEEDED, State.CANCELLED]
    assert records[1].head.reason == "given_up"
    assert naps == [1] * 6


@pytest.mark.contract("F29")
async def test_an_attempt_over_its_time_limit_fails_as_timeout(works: Works) -> None:
    @works.registry.handler("slow")
    async def slow() -> None:
        await anyio.sleep(3600)

    id = await works.enqueue("slow", policy=Policy(max_attempts=1, timeout_ms=2_000))

    async with works.worker():
        (record,) = await works.until_final(id)

    assert (record.head.state, record.head.reason) == (State.DEAD, "timeout")
    assert 2_000 <= record.head.finished - record.head.claimed < 2_500


async def test_a_timeout_hits_no_neighbour(works: Works) -> None:
    @works.registry.handler("sleep")
    async def sleep(seconds: float) -> str:
        await anyio.sleep(seconds)
        return "rested"

    late = Policy(max_attempts=1, timeout_ms=1_000)
    slow = [await works.enqueue("sleep", b'{"seconds": 50}', policy=late) for _ in range(5)]
    good = [await works.enqueue("sleep", b'{"seconds": 2}') for _ in range(5)]

    async with works.worker(concurrency=10):
        ended = await works.until_final(*slow, *good)

    assert [record.head.state for record in ended] == [State.DEAD] * 5 + [State.SUCCEEDED] * 5


async def test_a_running_job_is_cancelled_within_two_beats(works: Works) -> None:
    @works.registry.handler("long")
    async def long() -> None:
        await anyio.sleep(3600)

    id = await works.enqueue("long")

    async with works.worker():
        record = await works.until_running(id)
        request = decide(record, CancelAsked(), record.job.policy, 0, random.Random(1))
        assert isinstance(request, CancelRequest)
        await works.broker.apply([request])
        (ended,) = await works.until_final(id)

    assert ended.head.state is State.CANCELLED
    assert ended.head.finished - record.head.claimed <= 11_000


@pytest.mark.promise(10)
async def test_an_unknown_type_waits_and_is_dead_after_ten_minutes(works: Works) -> None:
    id = await works.enqueue("nobody")

    with told("treadle.worker", "unknown_type") as reports:
        async with works.worker():
            (record,) = await works.until_final(id)

    fields = [vars(report) for report in reports.records]
    assert [(each["type"], each["job_id"]) for each in fields] == [("nobody", id)], "once"
    assert (record.head.state, record.head.reason) == (State.DEAD, "unknown_type")
    assert record.head.attempt == 0
    assert 600_000 <= record.head.finished - record.created < 640_000


@pytest.mark.promise(10)
async def test_arguments_that_do_not_fit_are_dead_at_once_and_name_the_field(works: Works) -> None:
    @works.registry.handler("mail")
    async def mail(to: str) -> None:
        raise AssertionError("must not run")

    id = await works.enqueue("mail", b'{"to": 5}')

    await works.burst()

    record = await works.get(id)
    assert (record.head.state, record.head.reason) == (State.DEAD, "bad_arguments")
    assert record.history[0].error is not None
    assert "$.to" in record.history[0].error.message


@pytest.mark.contract("F22", "F23")
async def test_queues_go_in_the_order_given_and_priorities_are_strict(works: Works) -> None:
    order: list[str] = []

    @works.registry.handler("note")
    async def note(name: str) -> None:
        order.append(name)

    for queue, priority in (
        ("low", Priority.CRITICAL),
        ("high", Priority.LOW),
        ("high", Priority.MEDIUM),
        ("high", Priority.CRITICAL),
        ("low", Priority.HIGH),
    ):
        name = f"{queue}-{priority.name.lower()}"
        await works.enqueue(
            "note", b'{"name": "%s"}' % name.encode(), queue=queue, priority=priority
        )

    await works.burst(concurrency=1, selection=Ordered(("high", "low")))

    assert order == ["high-critical", "high-medium", "high-low", "low-critical", "low-high"]


@pytest.mark.contract("F28")
async def test_middleware_runs_in_the_order_registered(works: Works) -> None:
    order: list[str] = []

    def layer(name: str):  # type: ignore[no-untyped-def]  # a factory for this test only
        async def run(attempt: Attempt, call_next: Next) -> Outcome:
            order.append(f"{name} in")
            outcome = await call_next(attempt)
            order.append(f"{name} out")
            return outcome

        return run

    works.registry.use(layer("outer"))
    works.registry.use(layer("inner"))

    @works.registry.handler("work")
    async def work() -> None:
        order.append("work")

    await works.enqueue("work")
    await works.burst()

    assert order == ["outer in", "inner in", "work", "inner out", "outer out"]


@pytest.mark.parametrize(
    "returned",
    [None, "nonsense", Succeeded(result="text"), Failed(error="text")],  # type: ignore[arg-type]
)
async def test_a_middleware_that_returns_no_outcome_fails_the_attempt_and_is_named(
    works: Works, returned: Any
) -> None:
    async def forgetful(attempt: Attempt, call_next: Next) -> Outcome:
        await call_next(attempt)
        return cast("Outcome", returned)

    works.registry.use(forgetful)

    @works.registry.handler("work")
    async def work() -> None: ...

    id = await works.enqueue("work", policy=Policy(max_attempts=1))

    await works.burst()

    (record,) = await works.until_final(id)
    assert record.head.state is State.DEAD
    assert record.history[0].error is not None
    assert "returned" in record.history[0].error.message
    assert "forgetful" in record.history[0].error.message


async def test_a_middleware_that_raises_fails_the_attempt_and_not_the_worker(works: Works) -> None:
    async def broken(attempt: Attempt, call_next: Next) -> Outcome:
        if attempt.job.type == "bad":
            raise RuntimeError("middleware broke")
        return await call_next(attempt)

    works.registry.use(broken)

    @works.registry.handler("bad")
    async def bad() -> None: ...

    @works.registry.handler("good")
    async def good() -> None: ...

    one = await works.enqueue("bad", policy=Policy(max_attempts=1))
    two = await works.enqueue("good")

    await works.burst()

    assert await works.state(one) is State.DEAD
    assert await works.state(two) is State.SUCCEEDED


@pytest.mark.contract("F01")
@pytest.mark.promise(12)
async def test_ten_slots_run_ten_jobs_at_a_time_and_hold_no_long_ones_back(works: Works) -> None:
    running, most = 0, 0

    @works.registry.handler("second")
    async def second() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(1)
        running -= 1

    ids = [await works.enqueue("second") for _ in range(30)]
    began = works.clock.time_ms()

    async with works.worker(concurrency=10):
        ended = await works.until_final(*ids)

    assert most == 10
    assert max(record.head.finished for record in ended) - began < 4_000


async def test_progress_log_lines_and_steps_are_readable_by_id(works: Works) -> None:
    from treadle.domain.job import Ref

    charged: list[str] = []

    @works.registry.handler("order")
    async def order(ctx: Context) -> str:
        async def charge() -> str:
            charged.append(ctx.idempotency_key)
            return "receipt"

        ctx.progress(1, 2)
        ctx.log("charging")
        receipt = await ctx.step("charge", charge)
        if ctx.attempt == 1:
            raise ValueError("after the charge")
        return receipt

    id = await works.enqueue("order", policy=QUICK)

    async with works.worker():
        (record,) = await works.until_final(id)

    notes = await works.broker.notes(Ref("default", id))
    assert record.result == b'"receipt"'
    assert charged == [id]
    assert [line[2] for line in notes.log] == ["charging", "charging"]
    assert notes.progress is not None
    assert [name for name, _ in notes.steps] == ["charge"]


async def test_a_job_blocked_on_another_runs_soon_after_it(works: Works) -> None:
    from treadle.domain.job import Ref

    order: list[str] = []

    @works.registry.handler("step")
    async def step(name: str) -> None:
        order.append(name)
        await anyio.sleep(1)

    first = await works.enqueue("step", b'{"name": "first"}')
    second = await works.enqueue("step", b'{"name": "second"}', after=(Ref("default", first),))

    async with works.worker():
        records = await works.until_final(first, second)

    assert order == ["first", "second"]
    assert records[1].head.claimed - records[0].head.finished < 500


async def test_an_expired_job_is_cancelled_instead_of_run(works: Works) -> None:
    @works.registry.handler("offer")
    async def offer() -> None:
        raise AssertionError("must not run")

    job = Job(id="offer", type="offer", expires=After(1_000), due=After(5_000))
    await works.broker.enqueue([job])

    async with works.worker():
        (record,) = await works.until_final("offer")

    assert (record.head.state, record.head.reason) == (State.CANCELLED, "expired")
    assert record.head.attempt == 0


async def test_a_handler_with_a_private_cancellation_fails_and_the_slot_lives(works: Works) -> None:
    @works.registry.handler("odd")
    async def odd() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep(1)

    @works.registry.handler("good")
    async def good() -> None: ...

    ids = [await works.enqueue("odd"), await works.enqueue("good")]

    await works.burst(concurrency=1)

    assert [await works.state(id) for id in ids] == [State.SUCCEEDED] * 2
