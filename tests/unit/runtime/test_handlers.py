"""Handlers: what is enqueued, how attempts run and end, and plain calls."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, cast

import anyio
import pytest
from anyio import lowlevel

from tests.support.attempts import bench
from treadle import Context, Depends
from treadle.domain.job import After, Job, Priority
from treadle.domain.limits import RESULT_UNSERIALISABLE
from treadle.domain.outcome import Cancelled, Failed, Rejected, Snoozed, Succeeded
from treadle.domain.state import Reason
from treadle.errors import ConfigurationError, PayloadError, TooLarge
from treadle.runtime.handlers import AnyHandler
from treadle.runtime.registry import Registry
from treadle.runtime.signals import Cancel, Retry, Snooze
from treadle.runtime.signature import Payload


class Client:
    """Takes what handlers enqueue; its handles are the jobs themselves."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    async def enqueue(self, jobs: Sequence[Job], *, checked: bool = False) -> list[Any]:
        assert checked, "what a handler makes it has looked at"
        self.jobs += jobs
        return list(jobs)

    def enqueue_sync(self, jobs: Sequence[Job]) -> list[Any]:
        self.jobs += jobs
        return list(jobs)


class App(Registry):
    def __init__(self) -> None:
        super().__init__()
        self.taken = Client()

    @property
    def client(self) -> Client:
        return self.taken


app = App()


@app.handler("email.send", retry=5, timeout=30)
async def send_email(to: str, subject: str = "Welcome!") -> str:
    """Send a mail.

    Not really.
    """
    return f"sent {subject!r} to {to}"


@app.handler("add")
def add(a: int, b: int = 1) -> int:
    return a + b


# Enqueueing


@pytest.mark.anyio
async def test_a_job_has_what_the_handler_and_the_call_say() -> None:
    app.taken.jobs.clear()

    handle: Any = await send_email.enqueue("ada@example.com")

    (job,) = app.taken.jobs
    assert job is handle
    assert (job.type, job.payload) == ("email.send", b'{"to":"ada@example.com"}')
    assert (job.policy.max_attempts, job.policy.timeout_ms) == (6, 30_000)


@pytest.mark.anyio
async def test_options_change_one_job_and_not_the_handler() -> None:
    app.taken.jobs.clear()
    later = send_email.options(delay=60, queue="mail", priority="high").options(unique="ada")

    await later.enqueue("ada@example.com", subject="Hi")
    await send_email.enqueue("eve@example.com")

    first, second = app.taken.jobs
    assert (first.queue, first.priority, first.due) == ("mail", Priority.HIGH, After(60_000))
    assert first.unique is not None
    assert first.policy is second.policy
    assert (second.queue, second.unique) == ("default", None)


@pytest.mark.anyio
async def test_many_jobs_are_checked_before_any_is_sent() -> None:
    app.taken.jobs.clear()

    with pytest.raises(PayloadError, match=r"^item 2: email.send: 'to' must be str") as refused:
        await send_email.enqueue_many([{"to": "a"}, {"to": "b"}, {"to": 3}])
    with pytest.raises(TooLarge, match=r"^item 1: "):
        await send_email.enqueue_many([{"to": "a"}, {"to": "x" * 300_000}])

    assert app.taken.jobs == []
    assert refused.value.path == "$.to"


@pytest.mark.anyio
@pytest.mark.parametrize("given", [list, iter])
async def test_many_jobs_keep_their_order_and_have_ids_of_their_own(
    given: Callable[[list[dict[str, str]]], Iterable[dict[str, str]]],
) -> None:
    app.taken.jobs.clear()

    await send_email.enqueue_many(given([{"to": str(number)} for number in range(2_100)]))

    jobs = app.taken.jobs
    assert [job.payload for job in jobs] == [b'{"to":"%d"}' % number for number in range(2_100)]
    assert [job.id for job in jobs] == sorted({job.id for job in jobs})


def test_a_generator_may_fill_one_mapping_again_and_again() -> None:
    def people() -> Iterator[dict[str, str]]:
        payload: dict[str, str] = {}
        for name in ("ada", "bob", "eve"):
            payload["to"] = name
            yield payload

    jobs = send_email.jobs(people())

    assert [job.payload for job in jobs] == [b'{"to":"ada"}', b'{"to":"bob"}', b'{"to":"eve"}']


def test_the_item_that_does_not_fit_is_counted_over_all_that_were_given() -> None:
    payloads: list[dict[str, object]] = [{"to": "a"}] * 1_500

    with pytest.raises(PayloadError, match=r"^item 1500: "):
        send_email.jobs([*payloads, {"to": 3}])


@pytest.mark.parametrize("given", [list, iter])
def test_an_item_that_is_no_mapping_is_named(given: Callable[[Any], Any]) -> None:
    items: Any = [{"to": "a"}, ("b",)]

    with pytest.raises(PayloadError, match=r"^item 1: must be a mapping .*, got tuple"):
        send_email.jobs(given(items))


def test_sync_twins_do_the_same() -> None:
    app.taken.jobs.clear()

    add.enqueue_sync(1, b=2)
    add.options(queue="math").enqueue_many_sync([{"a": 1}, {"a": 2, "b": 3}])

    assert [(job.queue, job.payload) for job in app.taken.jobs] == [
        ("default", b'{"a":1,"b":2}'),
        ("math", b'{"a":1}'),
        ("math", b'{"a":2,"b":3}'),
    ]


def test_one_id_names_one_job() -> None:
    with pytest.raises(ConfigurationError, match="names one job, got 2"):
        send_email.options(id="a").jobs([{"to": "a"}, {"to": "b"}])


def test_a_job_can_be_made_from_json_with_options() -> None:
    job = send_email.job_of_json(b'{"to": "ada"}', {"queue": "mail"})

    assert (job.queue, job.payload, job.type) == ("mail", b'{"to": "ada"}', "email.send")
    with pytest.raises(PayloadError):
        send_email.job_of_json(b'{"too": "ada"}')


def test_a_handler_looks_like_its_function() -> None:
    assert send_email.__name__ == "send_email"
    assert send_email.summary == "Send a mail."
    assert repr(send_email) == "<AsyncHandler 'email.send'>"


# Attempts


@pytest.mark.anyio
async def test_an_async_handler_succeeds_with_its_result() -> None:
    async with bench() as tools:
        outcome = await tools.run(send_email, b'{"to":"ada"}')

    assert outcome == Succeeded(result=b"\"sent 'Welcome!' to ada\"")


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
    "error", [ValueError("no"), SystemExit(2), KeyboardInterrupt(), MemoryError()]
)
@pytest.mark.parametrize("run_in", ["async", "thread", "context", "loop"])
async def test_whatever_a_handler_raises_is_a_failure(run_in: str, error: BaseException) -> None:
    def fail() -> None:
        raise error

    async with bench() as tools:
        outcome = await tools.run(_handler_of(run_in, fail), b'{"a":1}')

    assert isinstance(outcome, Failed)
    assert outcome.error.type == type(error).__name__
    assert "test_handlers.py" in outcome.error.traceback
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


# Plain calls


def get_name() -> Iterator[str]:
    yield "ada"


async def get_greeting(name: str = Depends(get_name)) -> str:
    return f"hello {name}"


@app.handler("greet")
async def greet(ctx: Context, mark: str, greeting: str = Depends(get_greeting)) -> str:
    ctx.log("not kept")
    ctx.progress(1, 2)
    assert await ctx.step("same", add.function, 1, 2) == 3
    return f"{greeting}{mark}"


@app.handler("name")
def name_it(ctx: Context, mark: str, name: str = Depends(get_name)) -> str:
    return f"{ctx.attempt}{name}{mark}"


@app.handler("impossible")
def impossible(greeting: str = Depends(get_greeting)) -> str:
    return greeting


@app.handler("whole")
def whole(ctx: Context, payload: Payload) -> int:
    return len(payload)


@pytest.mark.anyio
async def test_a_plain_call_is_a_call_of_the_function() -> None:
    assert await send_email("ada", subject="Hi") == "sent 'Hi' to ada"
    assert add(1, b=2) == 3


@pytest.mark.anyio
async def test_a_plain_call_gets_what_a_worker_would_provide() -> None:
    assert await greet("!") == "hello ada!"
    assert name_it("!") == "1ada!"
    assert whole({"a": 1}) == 1


@pytest.mark.anyio
async def test_what_a_plain_call_gives_is_not_provided() -> None:
    assert await greet("!", greeting="bye ") == "bye !"
    assert name_it("!", name="eve") == "1eve!"
    with pytest.raises(ConfigurationError, match="what it depends on is async"):
        impossible()
    assert impossible(greeting="given") == "given"
