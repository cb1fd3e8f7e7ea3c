"""Typed calls of the public API: read by mypy and pyright, never run.

A wrong call carries an ignore; one that a checker stops reporting makes the ignore unused, and that
is an error.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true, reportUnusedCoroutine=false

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from treadle import (
    Context,
    Depends,
    Handlers,
    Job,
    Jobs,
    delays,
    exponential,
    fixed,
    linear,
)
from treadle.runtime.signature import Payload
from treadle.testing import Enqueued, JobsTest

jobs = Jobs()


class Db:
    """Something that is provided."""


async def get_db() -> AsyncIterator[Db]:
    yield Db()


def get_db_sync() -> Iterator[Db]:
    yield Db()


async def get_name() -> str:
    return "ada"


def get_number() -> int:
    return 1


@jobs.handler("email.send", retry=5, timeout=30)
async def send_email(to: str, subject: str = "Welcome!") -> str:
    return f"sent {subject!r} to {to}"


@jobs.handler
async def bare(count: int) -> list[int]:
    return [count]


@jobs.handler()
def plain(count: int, *, factor: float = 1.0) -> float:
    return count * factor


@jobs.handler(retry=exponential(base=1, cap=60, jitter="full", retry_on=(ConnectionError,)))
async def with_context(ctx: Context, count: int) -> None:
    ctx.progress(1, 3)
    assert_type(await ctx.step("charge", get_name), str)
    assert_type(await ctx.step("count", get_number), int)
    await ctx.step("count", get_number, 1)  # type: ignore[call-overload]


@jobs.handler("crunch", run_in="process", priority="high", on_crash="dead")
def with_context_sync(ctx: Context, count: int) -> int:
    return count


@jobs.handler("provided")
async def provided(
    day: datetime,
    db: Db = Depends(get_db),
    again: Db = Depends(get_db_sync),
    name: str = Depends(get_name),
    number: int = Depends(get_number),
) -> bool:
    return day.year > 2000 and db is not again and name == str(number)


@jobs.handler("anything")
def anything(payload: Payload) -> None:
    print(payload["task"])


@jobs.handler("keep")
async def keep(value: Any, times: int = 1) -> str:
    return str(value) * times


@jobs.handler
def keep_sync(value: object) -> int:
    return len(str(value))


@jobs.handler("keep.context")
async def keep_with_context(ctx: Context, value: Any) -> int:
    return ctx.attempt


group = Handlers()


@group.handler("group.one", retry=fixed(5), unique=True, unique_for=timedelta(hours=1))
async def grouped(count: int) -> str:
    return str(count)


async def calls_keep_the_types_of_the_function() -> None:
    job = await send_email.enqueue("ada@example.com")
    assert_type(job, Job[str])
    assert_type(await job.result(timeout=5), str)
    assert_type(await send_email("ada@example.com"), str)
    assert_type(await send_email.enqueue("ada@example.com", subject="Hello"), Job[str])
    assert_type(await send_email.enqueue_many([{"to": "ada@example.com"}]), list[Job[str]])
    assert_type(await bare.enqueue(3), Job[list[int]])
    assert_type(await bare(3), list[int])
    assert_type(await with_context.enqueue(3), Job[None])
    assert_type(await provided.enqueue(datetime.now(tz=UTC)), Job[bool])
    assert_type(await anything.enqueue({"task": "x"}), Job[None])
    assert_type(await grouped.enqueue(3), Job[str])


async def a_first_argument_of_any_type_is_no_context() -> None:
    # mypy answers Any for functions with Any in their signature; neither finds a mistake here.
    job: Job[str] = await keep.enqueue(3, times=2)
    named: Job[str] = await keep.enqueue(value=3)
    many: list[Job[str]] = await keep.enqueue_many([{"value": 3}])
    called: str = await keep(3)
    counted: Job[int] = await keep_with_context.enqueue(3)
    assert_type(await keep_sync.enqueue(value=3), Job[int])
    assert_type(keep_sync(3), int)
    print(job, named, many, called, counted)


def sync_calls_do_too() -> None:
    assert_type(send_email.enqueue_sync("eve@example.com"), Job[str])
    assert_type(send_email.enqueue_sync("eve@example.com").result_sync(timeout=5), str)
    assert_type(plain.enqueue_many_sync([{"count": 1}]), list[Job[float]])
    assert_type(plain(3, factor=2), float)
    assert_type(with_context_sync.enqueue_sync(3), Job[int])
    assert_type(with_context_sync(3), int)


async def options_do_too() -> None:
    later = send_email.options(
        delay=60, queue="mail", priority="high", unique="welcome:ada", on_conflict="reject"
    )
    first = await later.enqueue("ada@example.com", subject="Hello")
    assert_type(first, Job[str])
    assert_type(await later.enqueue_many([{"to": "x"}]), list[Job[str]])
    assert_type(later.enqueue_sync("ada@example.com"), Job[str])
    await send_email.options(
        run_at=datetime.now(tz=UTC),
        expires=timedelta(days=1),
        retention=None,
        retry=delays([1, 5, 30]),
        timeout=timedelta(seconds=5),
        after=[first],
        key="ada",
        id="welcome-ada",
    ).enqueue("ada@example.com")
    await send_email.options(retry=linear(2)).options(delay=1).enqueue("ada@example.com")


async def wrong_calls_are_found() -> None:
    await send_email.enqueue(1)  # type: ignore[arg-type]
    await send_email.enqueue()  # type: ignore[call-arg]
    await send_email.enqueue("ada@example.com", sbject="Hello")  # type: ignore[call-arg]
    await send_email.enqueue("ada@example.com", "Hello", "again")  # type: ignore[call-arg]
    await send_email.options(delay=60).enqueue(1)  # type: ignore[arg-type]
    await send_email.options(delay=60).enqueue(too="x")  # type: ignore[call-arg]
    await send_email.options(dely=60).enqueue("x")  # type: ignore[call-arg]
    await send_email.options(priority="urgent").enqueue("x")  # type: ignore[arg-type]
    await with_context.enqueue("three")  # type: ignore[arg-type]
    await provided.enqueue("monday")  # type: ignore[arg-type]
    await anything.enqueue([1])  # type: ignore[arg-type]
    send_email.enqueue_sync(1)  # type: ignore[arg-type]
    await send_email(1)  # type: ignore[arg-type]
    plain("3")  # type: ignore[arg-type]


def what_was_enqueued_is_typed(jobs_test: JobsTest) -> None:
    (mail,) = jobs_test.enqueued(send_email)
    assert_type(mail.matches("ada@example.com", subject="Hello"), bool)
    assert_type(mail.delay, timedelta | None)
    mail.matches(1)  # type: ignore[arg-type]
    mail.matches("ada@example.com", sbject="Hello")  # type: ignore[call-arg]
    jobs_test.enqueued(with_context)[-1].matches("three")  # type: ignore[arg-type]
    assert_type(jobs_test.enqueued("email.send"), list[Enqueued[...]])
    assert_type(jobs_test.enqueued()[0].matches("anything", at=3), bool)


async def wrong_results_are_found() -> None:
    job = await send_email.enqueue("ada@example.com")
    number: int = await job.result()  # type: ignore[assignment]
    print(number)


@jobs.cron("0 7 * * *", tz="Europe/Berlin", name="digest-eu", queue="mail", retry=exponential())
async def digest(region: str = "eu") -> int:
    return len(region)


@jobs.every(timedelta(minutes=5), catch_up="once", look_back=600)
@jobs.handler("poll")
def poll() -> list[str]:
    return []


async def scheduled_functions_stay_typed() -> None:
    assert_type(await digest("us"), int)
    assert_type(await digest.enqueue("us"), Job[int])
    assert_type(poll(), list[str])
    await digest.enqueue(1)  # type: ignore[arg-type]


@jobs.cron("0 7 * * *", catch_up="never")  # type: ignore[arg-type]
async def wrong_catch_up() -> None: ...


@jobs.handler("wrong", retry="often")  # type: ignore[call-overload, untyped-decorator]
async def wrong_option() -> None: ...


@jobs.handler("wrong.default")
async def wrong_default(db: Db = Depends(get_name)) -> None:  # type: ignore[assignment]
    print(db)
