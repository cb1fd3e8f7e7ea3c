"""What a handler can ask and tell: attempt, progress, log lines, durable steps, being stopped."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import anyio
import msgspec
import pytest
from anyio import lowlevel

from tests.support.attempts import bench, cut_short
from treadle import Context
from treadle.domain.limits import LOG_CHARS
from treadle.domain.outcome import Failed, Succeeded
from treadle.runtime.registry import Registry

pytestmark = pytest.mark.anyio

registry = Registry()


@registry.handler("about")
async def about(ctx: Context) -> list[Any]:
    return [
        ctx.attempt,
        ctx.max_attempts,
        ctx.job_id,
        ctx.queue,
        ctx.type,
        ctx.idempotency_key,
        ctx.cancelled,
    ]


async def test_a_context_knows_its_attempt() -> None:
    async with bench() as tools:
        outcome = await tools.run(about, number=2)

    assert isinstance(outcome, Succeeded)
    assert msgspec.json.decode(outcome.result or b"") == [
        2,
        4,
        "job-1",
        "default",
        "about",
        "job-1",
        False,
    ]


@registry.handler("talk")
async def talk(ctx: Context, text: str) -> None:
    ctx.progress(3, 10, text)
    ctx.log(text)


@registry.handler("talk.in.a.thread")
def talk_in_a_thread(ctx: Context, text: str) -> None:
    ctx.progress(3, 10, text)
    ctx.log(text)


@pytest.mark.parametrize("handler", [talk, talk_in_a_thread])
async def test_progress_and_log_lines_go_to_the_notes(handler: Any) -> None:
    async with bench() as tools:
        await tools.run(handler, b'{"text":"on it"}')

        assert tools.notes.told == [b'{"done":3,"total":10,"note":"on it"}']
        assert tools.notes.lines == ["on it"]


async def test_notes_are_bounded_and_encodable() -> None:
    @Registry().handler("odd")
    async def odd(ctx: Context) -> None:
        ctx.log("x" * 100_000)
        ctx.log("\ud800")
        no_text: Any = {"rows": 3}  # as code without types says it
        ctx.log(no_text)
        ctx.progress(1, note="\udfff" * 100_000)

    async with bench() as tools:
        assert await tools.run(odd) == Succeeded()

        assert LOG_CHARS - 1 <= len(tools.notes.lines[0]) <= LOG_CHARS
        assert tools.notes.lines[1] == "\\ud800"
        assert tools.notes.lines[2] == "{'rows': 3}"
        assert len(tools.notes.told[0]) < 2 * LOG_CHARS


@dataclasses.dataclass
class Receipt:
    number: int


calls: list[str] = []


async def charge(amount: int) -> Receipt:
    calls.append("charge")
    return Receipt(amount)


def ship(name: str = "", function: str = "") -> str:
    """Take arguments that are named like those of `step`."""
    calls.append("ship")
    return f"shipped{name}{function}"


@registry.handler("order")
async def order(ctx: Context, amount: int, fails: int = 0) -> list[Any]:
    receipt = await ctx.step("charge", charge, amount)
    shipped = await ctx.step("ship", ship, name="", function="")
    if ctx.attempt <= fails:
        raise ConnectionError("after both steps")
    return [receipt.number, shipped]


async def test_a_step_is_called_once_over_all_attempts_and_keeps_its_type() -> None:
    calls.clear()
    async with bench() as tools:
        first = await tools.run(order, b'{"amount":5,"fails":1}', number=1)
        second = await tools.run(order, b'{"amount":5,"fails":1}', number=2)

    assert isinstance(first, Failed)
    assert second == Succeeded(result=b'[5,"shipped"]')
    assert calls == ["charge", "ship"]


async def test_a_step_that_another_attempt_stored_first_wins() -> None:
    calls.clear()
    async with bench() as tools:
        attempt = tools.attempt(order, b'{"amount":5}')
        context = Context(attempt)
        assert await context.step("ship", ship) == "shipped"
        tools.notes.stored["charge"] = b'{"number":9}'

        receipt = await context.step("charge", charge, 5)

    assert receipt == Receipt(9)


async def test_a_step_is_called_once_in_one_attempt_too() -> None:
    calls.clear()
    async with bench() as tools:
        context = Context(tools.attempt(order))

        assert [await context.step("ship", ship) for _ in range(3)] == ["shipped"] * 3

    assert calls == ["ship"]


async def test_a_step_that_fails_is_not_stored() -> None:
    async def fail() -> None:
        raise ValueError("no")

    async with bench() as tools:
        context = Context(tools.attempt(order))
        with pytest.raises(ValueError, match="no"):
            await context.step("charge", fail)

        assert tools.notes.stored == {}


@pytest.mark.parametrize(
    ("value", "says"), [(object(), "cannot be written"), ("x" * 2_000_000, "2,000,002 bytes")]
)
async def test_a_step_whose_result_cannot_be_stored_fails_the_attempt(
    value: object, says: str
) -> None:
    async def make() -> object:
        return value

    @Registry().handler(f"step.{len(says)}")
    async def handler(ctx: Context) -> None:
        await ctx.step("make", make)

    async with bench() as tools:
        outcome = await tools.run(handler)

    assert isinstance(outcome, Failed)
    assert outcome.error.type == "JobError"
    assert says in outcome.error.message


async def test_a_sync_handler_makes_steps_through_the_loop() -> None:
    calls.clear()

    @Registry().handler("order.sync")
    def order_sync(ctx: Context) -> int:
        return ctx.run_async(ctx.step, "charge", charge, 7).number

    async with bench() as tools:
        assert await tools.run(order_sync) == Succeeded(result=b"7")
        assert await tools.run(order_sync) == Succeeded(result=b"7")

    assert calls == ["charge"]


stops_begun = threading.Event()


@registry.handler("stops")
def stops(ctx: Context) -> str:
    stops_begun.set()
    while not ctx.cancelled:
        pass
    return "stopped half-way"


async def test_what_a_sync_handler_returns_after_it_saw_the_stop_is_no_result() -> None:
    async with bench() as tools:
        attempt = tools.attempt(stops)
        stops_begun.clear()
        assert await cut_short(lambda: stops.run(attempt), stops_begun)

    assert (attempt.noticed, attempt.late) == (True, None)


async def test_a_sync_handler_that_finished_all_the_same_leaves_its_real_outcome() -> None:
    started, release = anyio.Event(), threading.Event()

    @Registry().handler("finishes")
    def finishes(ctx: Context) -> str:
        ctx.run_async(_set, started)
        release.wait(10)
        return "done"

    async def run() -> None:
        await finishes.run(attempt)

    async with bench() as tools:
        attempt = tools.attempt(finishes)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                await started.wait()
                scope.cancel()
                release.set()
                await lowlevel.checkpoint()

    assert scope.cancelled_caught
    assert attempt.late == Succeeded(result=b'"done"')


async def _set(event: anyio.Event) -> None:
    event.set()
