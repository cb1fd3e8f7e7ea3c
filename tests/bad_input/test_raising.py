"""Whatever a handler raises is a failed attempt, with text that can be kept; the worker lives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import anyio
import pytest

from tests.support.places import Place
from treadle import Attempt, Context, Depends, Next, Outcome, fixed
from treadle.broker.base import Filter
from treadle.domain.limits import ERROR_CHARS
from treadle.domain.state import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise(10)]

SOON = fixed(0.001, retries=1)


class RaisingStr(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")

    __repr__ = __str__


class EndingStr(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)

    __repr__ = __str__


class LongStr(Exception):
    def __str__(self) -> str:
        return "x" * 5_000_000


def _forever(depth: int = 0) -> int:
    return _forever(depth + 1) + 1


def _raise(error: BaseException) -> Callable[[], None]:
    def throw() -> None:
        raise error

    return throw


def _group() -> None:
    raise ExceptionGroup("many", [ValueError("one"), ExceptionGroup("more", [RaisingStr()])])


HOSTILE: dict[str, Callable[[], object]] = {
    "BaseException": _raise(BaseException("base")),
    "SystemExit": _raise(SystemExit(3)),
    "KeyboardInterrupt": _raise(KeyboardInterrupt()),
    "GeneratorExit": _raise(GeneratorExit()),
    "GeneratorExit inside a group": _raise(BaseExceptionGroup("g", [GeneratorExit()])),
    "StopIteration": _raise(StopIteration(1)),
    "StopAsyncIteration": _raise(StopAsyncIteration()),
    "str() raises": _raise(RaisingStr()),
    "str() exits": _raise(EndingStr()),
    "str() is long": _raise(LongStr()),
    "RecursionError": _forever,
    "MemoryError": _raise(MemoryError()),
    "ExceptionGroup": _group,
    "lone surrogate": _raise(ValueError("\ud800")),
    "NUL": _raise(ValueError("\x00")),
}


@pytest.mark.parametrize("kind", ["async", "thread", "loop"])
async def test_it_fails_the_attempt_and_is_retried(
    place: Place, kind: Literal["async", "thread", "loop"]
) -> None:
    if kind == "async":

        @place.jobs.handler("bad", retry=SOON)
        async def bad(how: str) -> None:
            await anyio.lowlevel.checkpoint()
            HOSTILE[how]()

    else:

        @place.jobs.handler("bad", retry=SOON, run_in=kind)
        def bad_sync(how: str) -> None:
            HOSTILE[how]()

    @place.jobs.handler("good")
    async def good() -> None: ...

    await place.jobs.find("bad").enqueue_many([{"how": how} for how in HOSTILE])
    neighbour = await good.enqueue()

    async with place.worker(concurrency=2):
        await neighbour.result(timeout=300)
        records = [
            (await place.until_final(record.job.id))[0]
            for record in (await place.broker.find(Filter(type="bad"))).records
        ]

    assert len(records) == len(HOSTILE)
    for record in records:
        how = record.job.payload.decode()
        assert (record.head.state, record.head.reason) == (State.DEAD, "exhausted"), how
        assert [row.event for row in record.history] == ["fail", "fail"], how
        for row in record.history:
            assert row.error is not None
            assert row.error.type, how
            assert len(row.error.message) + len(row.error.traceback) <= 2 * ERROR_CHARS, how
            assert (row.error.message + row.error.traceback).encode(), how


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt(), GeneratorExit()])
async def test_a_dependency_that_exits_is_a_failed_attempt(
    place: Place, error: BaseException
) -> None:
    def exits() -> Iterator[int]:
        yield 1
        raise error

    @place.jobs.handler("torn", retry=0)
    async def torn(number: int = Depends(exits)) -> None: ...

    @place.jobs.handler("good")
    async def good(ctx: Context) -> int:
        return ctx.attempt

    bad, fine = await torn.enqueue(), await good.enqueue()

    await place.burst()

    assert await place.states([bad.id, fine.id]) == [State.DEAD, State.SUCCEEDED]


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt(), GeneratorExit()])
async def test_a_middleware_that_exits_is_a_failed_attempt(
    place: Place, error: BaseException
) -> None:
    async def exits(attempt: Attempt, call_next: Next) -> Outcome:
        outcome = await call_next(attempt)
        if attempt.job.type == "torn":
            raise error
        return outcome

    place.jobs.use(exits)

    @place.jobs.handler("torn", retry=0)
    async def torn() -> None: ...

    @place.jobs.handler("good")
    async def good() -> None: ...

    bad, fine = await torn.enqueue(), await good.enqueue()

    await place.burst()

    assert await place.states([bad.id, fine.id]) == [State.DEAD, State.SUCCEEDED]
