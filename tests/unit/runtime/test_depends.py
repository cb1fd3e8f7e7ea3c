"""Dependencies: made per attempt, cached in it, torn down after it whatever happened."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from anyio import lowlevel

from tests.support.attempts import bench
from treadle import Context, Depends
from treadle.domain.outcome import Failed, Snoozed, Succeeded
from treadle.errors import ConfigurationError
from treadle.runtime.depends import plan
from treadle.runtime.registry import Registry
from treadle.runtime.signals import Snooze

events: list[str] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    events.clear()


def get_settings() -> str:
    events.append("settings")
    return "settings"


async def get_db(settings: str = Depends(get_settings)) -> AsyncIterator[str]:
    events.append("connect")
    try:
        yield f"db of {settings}"
    except BaseException as error:
        events.append(f"rollback {type(error).__name__}")
        raise
    else:
        events.append("commit")
    finally:
        events.append("disconnect")


def get_file(ctx: Context, settings: str = Depends(get_settings)) -> Iterator[str]:
    events.append("open")
    try:
        yield f"{ctx.job_id} of {settings}"
    except BaseException as error:
        events.append(f"abort {type(error).__name__}")
        raise
    finally:
        events.append("close")


async def get_user(db: str = Depends(get_db)) -> str:
    return f"user of {db}"


def _registry() -> Registry:
    return Registry()


@pytest.mark.anyio
async def test_dependencies_of_dependencies_are_made_once_an_attempt() -> None:
    registry = _registry()

    @registry.handler
    async def handler(
        a: int,
        user: str = Depends(get_user),
        db: str = Depends(get_db),
        file: str = Depends(get_file),
    ) -> list[Any]:
        events.append("run")
        return [a, user, db, file]

    async with bench() as tools:
        outcome = await tools.run(handler, b'{"a":1}')
        await tools.run(handler, b'{"a":2}')

    assert outcome == Succeeded(
        result=b'[1,"user of db of settings","db of settings","job-1 of settings"]'
    )
    once = ["settings", "connect", "open", "run", "close", "commit", "disconnect"]
    assert events == once * 2


@pytest.mark.anyio
async def test_a_failure_is_seen_by_the_dependencies_before_they_are_torn_down() -> None:
    registry = _registry()

    @registry.handler
    async def handler(db: str = Depends(get_db), file: str = Depends(get_file)) -> None:
        raise ValueError("no")

    async with bench() as tools:
        outcome = await tools.run(handler)

    assert isinstance(outcome, Failed)
    assert events[-4:] == ["abort ValueError", "close", "rollback ValueError", "disconnect"]


@pytest.mark.anyio
async def test_a_signal_is_a_failure_to_dependencies_and_itself_to_the_job() -> None:
    registry = _registry()

    @registry.handler
    async def handler(db: str = Depends(get_db)) -> None:
        raise Snooze(5)

    async with bench() as tools:
        assert isinstance(await tools.run(handler), Snoozed)

    assert events[-2:] == ["rollback Snooze", "disconnect"]


@pytest.mark.anyio
@pytest.mark.parametrize("sync", [False, True])
async def test_a_dependency_that_swallows_the_exception_does_not_make_a_success(sync: bool) -> None:
    def swallow() -> Iterator[int]:
        try:
            yield 1
        except ValueError:
            events.append("swallowed")

    registry = _registry()

    @registry.handler("async")
    async def handler(one: int = Depends(swallow)) -> None:
        raise ValueError("no")

    @registry.handler("sync")
    def sync_handler(one: int = Depends(swallow)) -> None:
        raise ValueError("no")

    async with bench() as tools:
        outcome = await tools.run(sync_handler if sync else handler)

    assert isinstance(outcome, Failed)
    assert outcome.error.type == "ValueError"
    assert events == ["swallowed"]


@pytest.mark.anyio
@pytest.mark.parametrize("sync", [False, True])
async def test_a_teardown_that_fails_fails_the_attempt(sync: bool) -> None:
    def commit() -> Iterator[int]:
        yield 1
        raise ConnectionError("commit failed")

    registry = _registry()

    @registry.handler("async")
    async def handler(one: int = Depends(commit)) -> None: ...

    @registry.handler("sync")
    def sync_handler(one: int = Depends(commit)) -> None: ...

    async with bench() as tools:
        outcome = await tools.run(sync_handler if sync else handler)

    assert isinstance(outcome, Failed)
    assert outcome.error.message == "commit failed"


@pytest.mark.anyio
async def test_a_provider_that_fails_tears_down_those_before_it() -> None:
    def refuse(db: str = Depends(get_db)) -> str:
        raise PermissionError(db)

    registry = _registry()

    @registry.handler
    async def handler(refused: str = Depends(refuse)) -> None:
        events.append("run")

    async with bench() as tools:
        outcome = await tools.run(handler)

    assert isinstance(outcome, Failed)
    assert events == ["settings", "connect", "rollback PermissionError", "disconnect"]


@pytest.mark.anyio
async def test_a_cancelled_attempt_tears_down_with_awaits_and_all() -> None:
    torn_down = anyio.Event()

    async def get_slow() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await lowlevel.checkpoint()
            torn_down.set()

    registry = _registry()

    started = anyio.Event()

    @registry.handler
    async def handler(slow: int = Depends(get_slow), file: str = Depends(get_file)) -> None:
        started.set()
        await anyio.sleep_forever()

    async with bench() as tools, anyio.create_task_group() as tasks:
        tasks.start_soon(tools.run, handler)
        await started.wait()
        tasks.cancel_scope.cancel()

    assert torn_down.is_set()
    assert events[-1] == "close"


@pytest.mark.anyio
async def test_sync_dependencies_of_a_sync_handler_share_its_thread() -> None:
    def get_thread() -> Iterator[int]:
        events.append(str(threading.get_ident()))
        yield threading.get_ident()
        events.append(str(threading.get_ident()))

    registry = _registry()

    @registry.handler
    def handler(thread: int = Depends(get_thread)) -> None:
        events.append(str(threading.get_ident()))
        assert thread == threading.get_ident()

    async with bench() as tools:
        assert await tools.run(handler) == Succeeded()

    assert len(set(events)) == 1
    assert events[0] != str(threading.get_ident())


@pytest.mark.anyio
async def test_sync_dependencies_of_an_async_handler_never_run_on_the_loop() -> None:
    def where() -> Iterator[bool]:
        yield threading.current_thread() is threading.main_thread()
        events.append(str(threading.current_thread() is threading.main_thread()))

    registry = _registry()

    @registry.handler
    async def handler(on_loop: bool = Depends(where)) -> bool:
        return on_loop

    async with bench() as tools:
        assert await tools.run(handler) == Succeeded(result=b"false")

    assert events == ["False"]


@pytest.mark.anyio
async def test_a_sync_handler_may_have_async_dependencies() -> None:
    registry = _registry()

    @registry.handler
    def handler(ctx: Context, a: int, user: str = Depends(get_user)) -> str:
        assert threading.current_thread() is not threading.main_thread()
        return f"{a} {user}"

    async with bench() as tools:
        outcome = await tools.run(handler, b'{"a":1}')

    assert outcome == Succeeded(result=b'"1 user of db of settings"')
    assert events == ["settings", "connect", "commit", "disconnect"]


@pytest.mark.anyio
async def test_a_dependency_is_no_argument_that_a_payload_could_set() -> None:
    registry = _registry()

    @registry.handler
    async def handler(settings: str = Depends(get_settings)) -> None: ...

    async with bench() as tools:
        outcome = await tools.run(handler, b'{"settings":"mine"}')

    assert "is not an argument" in str(outcome)


def test_a_class_may_be_a_provider_and_so_may_the_context() -> None:
    class Service:
        def __init__(self, settings: str = Depends(get_settings)) -> None:
            self.settings = settings

    made: Any = Depends(Service)
    context: Any = Depends(Context)

    steps = plan("x", {"service": made, "ctx": context, "again": made})

    assert [step.make for step in steps.steps] == [get_settings, Service]
    assert steps.wants == (("service", 1), ("ctx", None), ("again", 1))


def test_a_provider_that_needs_what_nobody_provides_is_refused() -> None:
    def needs(name: str) -> str:
        return name

    wrong: Any = Depends(needs)
    with pytest.raises(ConfigurationError, match="needs 'name', and nothing provides it"):
        plan("email.send", {"x": wrong})


def test_a_provider_that_is_no_function_or_depends_on_itself_is_refused() -> None:
    number: Any = 3
    with pytest.raises(ConfigurationError, match="takes a function"):
        plan("email.send", {"x": Depends(number)})

    def circle(again: int = 1) -> int:
        return again

    circle.__defaults__ = (Depends(circle),)
    wrong: Any = Depends(circle)
    with pytest.raises(ConfigurationError, match="depends on itself"):
        plan("email.send", {"x": wrong})


def test_a_sync_handler_on_the_loop_cannot_have_async_dependencies() -> None:
    def handler(user: str = Depends(get_user)) -> None: ...

    with pytest.raises(ConfigurationError, match="only sync dependencies"):
        _registry().handler("x", run_in="loop")(handler)
