"""Handlers: what is enqueued, and plain calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest

from treadle import Context, Depends
from treadle.domain.job import After, Job, Priority
from treadle.errors import ConfigurationError, PayloadError, TooLarge
from treadle.runtime.registry import Registry
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
