"""The thread pool: bounded, context-keeping, and it gives up threads that will not end."""

from __future__ import annotations

import contextvars
import gc
import threading
import weakref
from typing import NoReturn

import anyio
import pytest
from anyio import lowlevel

from tests.support.attempts import cut_short, until
from treadle.runtime.threads import ThreadPool

_current = contextvars.ContextVar("_current", default="none")


class Stop:
    """Notes that it was told to stop."""

    def __init__(self) -> None:
        self.told = threading.Event()

    def stop(self) -> None:
        self.told.set()


@pytest.mark.anyio
async def test_a_function_returns_its_value_from_another_thread() -> None:
    async with ThreadPool(1) as pool:
        ident = await pool.call(threading.get_ident, None)

        assert ident != threading.get_ident()
        assert await pool.run(max, None, 1, 2) == 2


@pytest.mark.anyio
@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), KeyboardInterrupt()])
async def test_what_a_function_raises_is_raised_to_the_caller(error: BaseException) -> None:
    def fail() -> NoReturn:
        raise error

    async with ThreadPool(1) as pool:
        with pytest.raises(type(error)) as caught:
            await pool.call(fail, None)

        assert caught.value is error
        assert await pool.call(lambda: "alive", None) == "alive"


@pytest.mark.anyio
async def test_each_call_runs_in_a_copy_of_its_callers_context() -> None:
    seen: list[str] = []

    def look(name: str) -> None:
        seen.append(_current.get())
        _current.set(f"leaked by {name}")

    async def call(pool: ThreadPool, name: str) -> None:
        _current.set(name)
        await pool.run(look, None, name)
        assert _current.get() == name

    async with ThreadPool(1) as pool, anyio.create_task_group() as tasks:
        for name in "abc":
            tasks.start_soon(call, pool, name)

    assert sorted(seen) == ["a", "b", "c"]


@pytest.mark.anyio
async def test_no_more_threads_run_at_a_time_than_the_pool_has() -> None:
    lock = threading.Lock()
    running: list[int] = []
    most: list[int] = []

    def work() -> None:
        with lock:
            running.append(1)
            most.append(len(running))
        for _ in range(1_000):
            pass
        with lock:
            running.pop()

    async with ThreadPool(3) as pool, anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(pool.call, work, None)

    assert len(most) == 200
    assert max(most) <= 3


@pytest.mark.anyio
async def test_calls_run_at_the_same_time_in_as_many_threads() -> None:
    together = threading.Barrier(4, timeout=300)

    async with ThreadPool(4) as pool, anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(pool.call, together.wait, None)


@pytest.mark.anyio
async def test_many_short_calls_all_come_back() -> None:
    done: list[int] = []

    async def work(pool: ThreadPool, start: int) -> None:
        for number in range(start, start + 100):
            done.append(await pool.run(int, None, number))  # noqa: PERF401 - one after the other

    async with ThreadPool(4) as pool, anyio.create_task_group() as tasks:
        for start in range(0, 2_000, 100):
            tasks.start_soon(work, pool, start)

    assert sorted(done) == list(range(2_000))


@pytest.mark.anyio
async def test_a_cancelled_call_is_told_to_stop_and_waited_for() -> None:
    stop = Stop()
    begun, ended = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        stop.told.wait(300)
        ended.set()

    async with ThreadPool(1) as pool:
        assert await cut_short(lambda: pool.call(work, stop), begun)

        assert ended.is_set()
        assert pool.abandoned == 0


@pytest.mark.anyio
async def test_a_thread_that_will_not_end_is_abandoned_counted_and_replaced() -> None:
    begun, release = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait()

    async with ThreadPool(1, patience=0.05) as pool:
        assert await cut_short(lambda: pool.call(work, Stop()), begun)

        assert pool.abandoned == 1
        assert await pool.call(lambda: "a fresh thread", None) == "a fresh thread"

        release.set()
        await until(lambda: not pool.abandoned)
        assert await pool.call(lambda: "still one thread", None) == "still one thread"


@pytest.mark.anyio
async def test_a_thread_that_was_abandoned_ends_also_when_the_pool_is_closed() -> None:
    begun, release = threading.Event(), threading.Event()
    own: list[threading.Thread] = []

    def work() -> None:
        own.append(threading.current_thread())
        begun.set()
        release.wait(300)

    async with ThreadPool(1, patience=0.01) as pool:
        await cut_short(lambda: pool.call(work, None), begun)
    release.set()

    await until(lambda: not own[0].is_alive())
    assert pool.abandoned == 0


@pytest.mark.anyio
async def test_a_call_that_no_thread_took_yet_is_revoked_at_once() -> None:
    busy, release = threading.Event(), threading.Event()
    stop, scope = Stop(), anyio.CancelScope()
    ran: list[int] = []

    def work() -> None:
        busy.set()
        release.wait(300)

    async with ThreadPool(1) as pool:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.call, work, None)
            await until(busy.is_set)
            with scope:
                scope.cancel()
                await pool.run(ran.append, stop, 1)
            release.set()

        assert scope.cancelled_caught
        assert stop.told.is_set()
        assert pool.abandoned == 0
        assert await pool.call(lambda: "still alive", None) == "still alive"
        assert ran == []


@pytest.mark.anyio
async def test_cancels_that_race_with_completions_lose_no_call_and_no_thread() -> None:
    outcomes = {"done": 0, "cancelled": 0}

    async def work(pool: ThreadPool) -> None:
        for _ in range(100):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(pool.call, lambda: None, None)
                    await lowlevel.checkpoint()
                    scope.cancel()
            outcomes["cancelled" if scope.cancelled_caught else "done"] += 1

    async with ThreadPool(2) as pool:
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(work, pool)

        assert sum(outcomes.values()) == 1_000
        assert pool.abandoned == 0
        together = threading.Barrier(2, timeout=300)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.call, together.wait, None)
            tasks.start_soon(pool.call, together.wait, None)


@pytest.mark.anyio
async def test_a_result_does_not_live_until_the_next_call() -> None:
    class Large:
        pass

    async with ThreadPool(1) as pool:
        alive = weakref.ref(await pool.call(Large, None))

        await until(lambda: gc.collect() >= 0 and alive() is None)


@pytest.mark.anyio
async def test_a_thread_can_call_back_into_the_loop_of_its_pool() -> None:
    async with ThreadPool(1) as pool:
        token = pool.token

        def work() -> str:
            return anyio.from_thread.run(_hello, token=token)

        assert await pool.call(work, None) == "hello"


async def _hello() -> str:
    return "hello"


def test_a_call_into_a_loop_that_ended_harms_nobody(anyio_backend: str) -> None:
    begun, release = threading.Event(), threading.Event()
    own: list[threading.Thread] = []

    def work() -> None:
        own.append(threading.current_thread())
        begun.set()
        release.wait(300)

    async def main() -> None:
        async with ThreadPool(1, patience=0.01) as pool:
            await cut_short(lambda: pool.call(work, None), begun)

    anyio.run(main, backend=anyio_backend)
    release.set()

    own[0].join(60)
    assert not own[0].is_alive()
