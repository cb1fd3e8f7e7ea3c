"""How attempts run in each kind of handler, and how they end."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Coroutine
from datetime import datetime
from typing import Any, cast

import anyio
import pytest
from anyio import lowlevel

from tests.support.attempts import bench
from treadle import Context
from treadle.domain.job import After
from treadle.domain.limits import RESULT_UNSERIALISABLE
from treadle.domain.outcome import Cancelled, Failed, Rejected, Snoozed, Succeeded
from treadle.domain.state import Reason
from treadle.runtime.handlers import AnyHandler
from treadle.runtime.registry import Registry
from treadle.runtime.signals import Cancel, Retry, Snooze


@pytest.mark.anyio
async def test_an_async_handler_succeeds_with_its_result() -> None:
    registry = Registry()

    @registry.handler
    async def greet(name: str, greeting: str = "Welcome") -> str:
        return f"{greeting} {name}"

    async with bench() as tools:
        outcome = await tools.run(greet, b'{"name":"ada"}')

    assert outcome == Succeeded(result=b'"Welcome ada"')


@pytest.mark.anyio
async def test_a_sync_handler_runs_in_a_thread_and_succeeds() -> None:
    registry = Registry()

    @registry.handler
    def where(a: int) -> list[Any]:
        return [a, threading.current_thread() is threading.main_thread()]

    async with bench() as tools:
        outcome = await tools.run(where, b'{"a":1}')

    assert outcome == Succeeded(result=b"[1,false]")


@pytest.mark.anyio
async def test_a_sync_handler_may_ask_for_the_loop() -> None:
    registry = Registry()

    @registry.handler(run_in="loop")
    def where() -> bool:
        return threading.current_thread() is threading.main_thread()

    async with bench() as tools:
        assert await tools.run(where) == Succeeded(result=b"true")


@pytest.mark.anyio
async def test_a_handler_without_a_result_stores_none() -> None:
    registry = Registry()

    @registry.handler
    async def nothing() -> None: ...

    async with bench() as tools:
        assert await tools.run(nothing) == Succeeded(result=None)


@pytest.mark.anyio
async def test_keyword_only_and_positional_only_parameters_are_called_right() -> None:
    registry = Registry()

    @registry.handler
    async def mixed(ctx: Context, a: int, /, b: int, *, c: datetime) -> list[Any]:
        return [ctx.attempt, a, b, c.year]

    async with bench() as tools:
        outcome = await tools.run(mixed, b'{"b":2,"c":"2025-01-01T00:00:00Z","a":1}', number=3)

    assert outcome == Succeeded(result=b"[3,1,2,2025]")


@pytest.mark.promise(10)
@pytest.mark.anyio
@pytest.mark.parametrize("run_in", ["async", "thread", "context", "loop"])
async def test_a_payload_that_does_not_fit_is_rejected_before_the_handler_runs(
    run_in: str,
) -> None:
    ran: list[int] = []
    handler = _handler_of(run_in, lambda: ran.append(1))

    async with bench() as tools:
        outcome = await tools.run(handler, b'{"a":"x"}')

    assert isinstance(outcome, Rejected)
    assert outcome.reason is Reason.BAD_ARGUMENTS
    assert outcome.error.message == "work: 'a' must be int, got str (at $.a)"
    assert ran == []


@pytest.mark.promise(10)
@pytest.mark.anyio
@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(2), KeyboardInterrupt(), GeneratorExit()]
)
@pytest.mark.parametrize("run_in", ["async", "thread", "context", "loop"])
async def test_whatever_a_handler_raises_is_a_failure(run_in: str, error: BaseException) -> None:
    def fail() -> None:
        raise error

    async with bench() as tools:
        outcome = await tools.run(_handler_of(run_in, fail), b'{"a":1}')

    assert isinstance(outcome, Failed)
    assert outcome.error.type == type(error).__name__
    assert "test_attempts.py" in outcome.error.traceback
    assert "execution.py" not in outcome.error.traceback


@pytest.mark.anyio
@pytest.mark.parametrize("run_in", ["async", "thread", "context", "loop"])
async def test_signals_say_how_an_attempt_ends(run_in: str) -> None:
    def signal(error: Exception) -> AnyHandler:
        def fail() -> None:
            raise error

        return _handler_of(run_in, fail)

    async with bench() as tools:
        assert await tools.run(signal(Snooze(1)), b'{"a":1}') == Snoozed(due=After(1_000))
        assert await tools.run(signal(Cancel("no")), b'{"a":1}') == Cancelled(detail="no")
        retried = await tools.run(signal(Retry()), b'{"a":1}')

    assert isinstance(retried, Failed)
    assert retried.again


def _handler_of(run_in: str, body: Any) -> AnyHandler:
    registry = Registry()
    if run_in == "async":

        @registry.handler("work")
        async def work(a: int) -> None:
            body()

        return work
    if run_in == "context":

        @registry.handler("work")
        async def work_with(ctx: Context, a: int) -> None:
            body()

        return work_with

    def work_in(a: int) -> None:
        body()

    return registry.handler("work", run_in="loop" if run_in == "loop" else "thread")(work_in)


@pytest.mark.promise(10)
@pytest.mark.anyio
async def test_a_result_that_json_cannot_carry_does_not_undo_the_success() -> None:
    registry = Registry()

    @registry.handler
    async def odd() -> Any:
        return object()

    async with bench() as tools:
        assert await tools.run(odd) == Succeeded(result=RESULT_UNSERIALISABLE)


@pytest.mark.anyio
@pytest.mark.parametrize("provided", [False, True])
async def test_a_cancellation_goes_through_and_is_no_outcome(provided: bool) -> None:
    registry = Registry()
    outcomes: list[Any] = []

    @registry.handler
    async def forever(ctx: Context) -> None:
        await anyio.sleep_forever()

    @registry.handler
    async def plainly() -> None:
        await anyio.sleep_forever()

    async with bench() as tools:
        with anyio.CancelScope() as scope:
            scope.cancel()
            outcomes.append(await tools.run(forever if provided else plainly))

    assert scope.cancelled_caught
    assert outcomes == []


@pytest.mark.anyio
@pytest.mark.parametrize("beside", [[], [ValueError("in the cleanup")]])
async def test_a_group_of_nothing_but_cancellations_goes_through_too(
    beside: list[BaseException],
) -> None:
    registry = Registry()
    outcomes: list[Any] = []

    @registry.handler
    async def forever() -> None:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class() as error:
            raise BaseExceptionGroup("tasks", [error, *beside]) from None

    async with bench() as tools:
        with anyio.CancelScope() as scope:
            scope.cancel()
            outcomes.append(await tools.run(forever))

    assert [type(outcome) for outcome in outcomes] == [Failed] * len(beside)


@pytest.mark.anyio
async def test_a_handler_whose_coroutine_is_closed_ends_in_silence() -> None:
    registry = Registry()

    @registry.handler
    async def forever() -> None:
        await anyio.sleep_forever()

    async with bench() as tools:
        running = cast("Coroutine[Any, Any, Any]", tools.run(forever))
        running.send(None)
        running.close()

        with pytest.raises(RuntimeError, match="already"):
            running.send(None)


@pytest.mark.anyio
async def test_errors_of_a_cancelled_task_group_inside_a_handler_are_a_failure() -> None:
    registry = Registry()

    @registry.handler
    async def group() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            await lowlevel.checkpoint()
            raise ValueError("one of them")

    async with bench() as tools:
        outcome = await tools.run(group)

    assert isinstance(outcome, Failed)
    assert "builtins.ValueError" in outcome.kinds


_current = contextvars.ContextVar("_current", default="none")


@pytest.mark.anyio
async def test_sync_handlers_see_the_callers_context_and_leak_nothing_into_the_next_job() -> None:
    registry = Registry()
    seen: list[str] = []

    @registry.handler
    def leak() -> None:
        seen.append(_current.get())
        _current.set("leaked")

    _current.set("mine")
    async with bench(threads=1) as tools:
        for _ in range(3):
            await tools.run(leak)

    assert seen == ["mine"] * 3
    assert _current.get() == "mine"
