"""Results that cannot be kept: the attempt succeeded all the same, and a note says what is missing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.places import Place
from treadle.domain.limits import RESULT_BYTES, RESULT_TOO_LARGE, RESULT_UNSERIALISABLE
from treadle.domain.state import State
from treadle.errors import ResultGone

pytestmark = [pytest.mark.anyio, pytest.mark.promise(10)]


class _Explodes:
    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise SystemExit(1)


def _ring() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


STRANGE: dict[str, Callable[[], Any]] = {
    "object": object,
    "lambda": lambda: lambda: None,
    "NaN": lambda: [math.nan],
    "infinity": lambda: {"a": math.inf},
    "ring": _ring,
    "lone surrogate": lambda: "\ud800",
    "hostile": _Explodes,
}


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_result_that_is_no_json_succeeds_with_a_note(place: Place, kind: str) -> None:
    if kind == "async":

        @place.jobs.handler("odd")
        async def odd(how: str) -> Any:
            return STRANGE[how]()

    else:

        @place.jobs.handler("odd")
        def odd_sync(how: str) -> Any:
            return STRANGE[how]()

    jobs = await place.jobs.find("odd").enqueue_many([{"how": how} for how in STRANGE])

    worker = await place.burst()

    assert worker.report.succeeded == len(STRANGE)
    for how, job in zip(STRANGE, jobs, strict=True):
        record = await place.get(job.id)
        assert (record.head.state, record.result) == (State.SUCCEEDED, RESULT_UNSERIALISABLE), how
        with pytest.raises(ResultGone, match="cannot be written as JSON"):
            await job.result(timeout=300)


async def test_a_result_over_the_limit_succeeds_with_a_note(place: Place) -> None:
    @place.jobs.handler("large")
    async def large(size: int) -> str:
        return "x" * size

    fits, over = await large.enqueue(RESULT_BYTES - 2), await large.enqueue(RESULT_BYTES)
    huge = await large.enqueue(20_000_000)

    await place.burst()

    assert len(await fits.result(timeout=300)) == RESULT_BYTES - 2
    for job in (over, huge):
        record = await place.get(job.id)
        assert (record.head.state, record.result) == (State.SUCCEEDED, RESULT_TOO_LARGE)
        with pytest.raises(ResultGone, match="too large"):
            await job.result(timeout=300)


async def test_a_result_that_does_not_fit_its_annotation_is_told_to_the_caller(
    place: Place,
) -> None:
    from treadle.errors import JobError

    @place.jobs.handler("liar")
    async def liar() -> int:
        return "text"  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    job = await liar.enqueue()
    await place.burst()

    assert await place.states([job.id]) == [State.SUCCEEDED]
    with pytest.raises(JobError, match="does not fit the return annotation"):
        await job.result(timeout=300)
