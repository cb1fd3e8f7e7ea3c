"""The Python client against a real server: what it sends, reads, raises, and how it comes back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import msgspec
import pytest
from treadle_web import Limits, access, views
from treadle_web.api import dead, events, groups, queues
from treadle_web.client import (
    AsyncClient,
    Changed,
    Client,
    Conflict,
    DeadJob,
    Filter,
    Forbidden,
    Gap,
    Group,
    Invalid,
    Job,
    JobDetails,
    JobEvent,
    New,
    NotFound,
    Queue,
    Unauthorized,
    Unreachable,
    answers,
    failures,
)
from treadle_web.idempotency import Created
from treadle_web.problems import Problem

from treadle.domain.limits import EVENTS_KEPT

NOTE = New(type="note.write", payload={"number": 1})


@pytest.fixture
def client(served: Any) -> Iterator[Client]:
    """Give a client of the server."""
    with Client(served.url) as opened:
        yield opened


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Job, views.JobOut),
        (JobDetails, views.JobDetail),
        (DeadJob, dead.DeadOut),
        (Group, groups.Group),
        (answers.Done, groups.GroupDone),
        (Queue, queues.QueueOut),
        (answers.Created, Created),
        (answers.Problem, Problem),
        (JobEvent, events.LogLine),
    ],
)
def test_the_client_knows_every_field_of_the_server(ours: Any, theirs: Any) -> None:
    left_out = {"type"} if ours is answers.Problem else set[str]()

    known = {field.name for field in msgspec.structs.fields(ours)}
    told = {field.name for field in msgspec.structs.fields(theirs)}

    assert known == told - left_out


def test_a_job_is_enqueued_read_cancelled_retried_and_deleted(client: Client) -> None:
    due = datetime.now(UTC) + timedelta(hours=1)

    made = client.enqueue(
        New(type="note.write", payload={"number": 7}, id="a/b", queue="mail", run_at=due)
    )
    found = client.get("a/b")
    cancelled = client.cancel("a/b", queue="mail", seen=found.fence)
    again = client.retry("a/b")
    client.cancel("a/b")
    client.delete("a/b")

    assert (made.id, made.queue, made.state, made.is_new) == ("a/b", "mail", "scheduled", True)
    assert (found.payload, found.queue, found.meta) == ({"number": 7}, "mail", {})
    assert found.due is not None
    assert abs(found.due - due) < timedelta(milliseconds=2)
    assert (cancelled.state, again.state) == ("cancelled", "queued")
    assert client.get("a/b").payload is None  # only its id is remembered


def test_with_a_key_the_same_request_stores_one_job(client: Client) -> None:
    first = client.enqueue(NOTE, idempotency_key="order-17")
    again = client.enqueue(NOTE, idempotency_key="order-17")
    many = [client.enqueue_many([NOTE, NOTE], idempotency_key="orders") for _ in range(2)]

    assert first == again
    assert many[0] == many[1]
    assert len(list(client.jobs())) == 3


def test_listings_walk_all_their_pages(client: Client) -> None:
    for _ in range(5):
        assert all(one.job is not None for one in client.enqueue_many([NOTE] * 100))
    client.enqueue(New(type="note.write", payload={"number": 1}, queue="mail"))

    assert len({one.id for one in client.jobs()}) == 501
    assert [one.queue for one in client.jobs(Filter(queue="mail", state="queued"))] == ["mail"]
    assert list(client.jobs(Filter(since=datetime.now(UTC) + timedelta(days=1)))) == []


def test_dead_letters_are_listed_grouped_retried_and_discarded(served: Any, client: Client) -> None:
    for why in ("order 17 is lost", "order 18 is lost", "no paper"):
        client.enqueue(New(type="note.fail", payload={"why": why}))
    served.work()

    letters = list(client.dead(Filter(type="note.fail")))
    group, other = client.dead_groups()
    counted = client.retry_group(group.fingerprint, dry_run=True)
    retried = client.retry_group(group.fingerprint)
    discarded = client.discard_group(other.fingerprint)

    assert min(one.error.message for one in letters) == "no paper"
    assert (group.count, counted, retried, discarded) == (2, 2, 2, 1)
    assert list(client.dead()) == []


def test_queues_are_counted_paused_and_resumed(client: Client) -> None:
    client.enqueue(NOTE)

    assert [one.waiting for one in client.queues()] == [1]
    assert client.pause("default").paused
    assert client.queue("default").paused
    assert not client.resume("default").paused


def test_refusals_are_exceptions_that_hold_the_problem(client: Client) -> None:
    id = client.enqueue(NOTE).id
    fence = client.get(id).fence
    client.cancel(id)

    with pytest.raises(NotFound) as missing:
        client.get("none")
    with pytest.raises(Changed):
        client.retry(id, seen=fence)
    with pytest.raises(Conflict) as ended:
        client.cancel(id)
    with pytest.raises(Invalid) as wrong:
        client.enqueue(New(type="note.write", payload={"number": "x"}))
    with pytest.raises(Invalid):
        list(client.jobs(Filter(state="lost")))

    assert missing.value.problem.status == 404
    assert missing.value.problem.request_id
    assert ended.value.problem.code == "QRUN-J020"
    assert wrong.value.problem.path == "$.payload.number"
    assert "$.payload.number" in str(wrong.value)


def test_a_token_is_shown_and_what_it_may_not_is_refused(url: str, serve: Any, app_of: Any) -> None:
    secret = "a-secret-of-more-than-32-characters"
    served = serve(app_of(url), access=access(token=secret))

    with Client(served.url, token=secret) as client:
        assert client.queues() == ()
    with Client(served.url) as stranger, pytest.raises(Unauthorized):
        stranger.queues()
    foreign = served.url.replace("127.0.0.1", "127.0.0.2")
    with Client(foreign, token=secret) as client, pytest.raises((Forbidden, Unreachable)):
        client.queues()


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with Client("http://127.0.0.1:9") as client:
        with pytest.raises(Unreachable):
            client.queues()
        with pytest.raises(Unreachable):
            next(client.events(patience_s=0))


def test_an_answer_that_is_no_problem_of_ours_is_an_error_all_the_same() -> None:
    error = failures.failure(502, b"<html>Bad Gateway</html>", "7")

    assert isinstance(error, failures.Unavailable)
    assert (error.problem.status, error.retry_after_s) == (502, 7.0)


def test_events_come_until_nobody_asks_for_more(client: Client) -> None:
    id = client.enqueue(NOTE).id
    stream = client.events(since="0", queue="default")

    first = next(stream)
    client.cancel(id)
    second = next(stream)

    assert isinstance(first, JobEvent)
    assert isinstance(second, JobEvent)
    assert (first.event, first.id, second.event) == ("enqueue", id, "cancel")
    assert isinstance(first.at, datetime)


def test_events_go_on_where_the_connection_ended(url: str, serve: Any, app_of: Any) -> None:
    served = serve(app_of(url), limits=Limits(stream_s=0.1))  # each connection ends at once

    with Client(served.url) as client:
        ids = [client.enqueue(NOTE).id]
        stream = client.events(since="0")
        seen = [next(stream)]
        for _ in range(5):
            ids.append(client.enqueue(NOTE).id)
            seen.append(next(stream))

    assert [one.id for one in seen if isinstance(one, JobEvent)] == ids


def test_lost_events_are_told(client: Client) -> None:
    client.enqueue(NOTE)
    for _ in range(-(-EVENTS_KEPT // 1_000)):
        client.enqueue_many([New(type="note.write", payload={"number": 1}, delay=60.0)] * 1_000)
    client.enqueue(NOTE)

    assert isinstance(next(client.events(since="1")), Gap)


def test_a_refused_stream_is_refused_at_once(client: Client) -> None:
    with pytest.raises(Invalid):
        next(client.events(since="yesterday"))


def test_the_client_for_event_loops_does_the_same(served: Any) -> None:
    async def main() -> None:
        async with AsyncClient(served.url) as client:
            made = await client.enqueue(NOTE, idempotency_key="one")
            (item,) = await client.enqueue_many([NOTE])
            stream = client.events(since="0")
            seen = [await anext(stream), await anext(stream)]
            await stream.aclose()
            listed = {one.id async for one in client.jobs()}
            details = await client.get(made.id)
            cancelled = await client.cancel(made.id, seen=details.fence)
            retried = await client.retry(made.id)
            await client.cancel(made.id)
            await client.delete(made.id)
            with pytest.raises(NotFound):
                await client.get("none")

            assert item.job is not None
            assert listed == {made.id, item.job.id}
            assert [one.id for one in seen if isinstance(one, JobEvent)] == [made.id, item.job.id]
            assert (cancelled.state, retried.state) == ("cancelled", "queued")
            assert (await client.pause("default")).paused
            assert not (await client.resume("default")).paused
            assert [one.waiting for one in await client.queues()] == [1]
            assert (await client.queue("default")).cancelled == 0

    anyio.run(main)


def test_the_client_for_event_loops_looks_after_dead_letters(served: Any) -> None:
    for why in ("order 17 is lost", "no paper"):
        served.create("note.fail", payload={"why": why})
    served.work()

    async def main() -> None:
        async with AsyncClient(served.url) as client:
            marks = [one.fingerprint for one in await client.dead_groups()]
            assert len([one async for one in client.dead()]) == len(marks) == 2
            assert await client.retry_group(marks[0], dry_run=True) == 1
            assert await client.retry_group(marks[0]) == 1
            assert await client.discard_group(marks[1]) == 1
            assert [one async for one in client.dead()] == []

    anyio.run(main)


def test_the_client_for_event_loops_goes_on_where_a_connection_ended(
    url: str, serve: Any, app_of: Any
) -> None:
    served = serve(app_of(url), limits=Limits(stream_s=0.1))

    async def main() -> None:
        async with AsyncClient(served.url) as client:
            ids = [(await client.enqueue(NOTE)).id]
            stream = client.events(since="0")
            seen = [await anext(stream)]
            for _ in range(3):
                ids.append((await client.enqueue(NOTE)).id)
                seen.append(await anext(stream))
            await stream.aclose()
            assert [one.id for one in seen if isinstance(one, JobEvent)] == ids

    anyio.run(main)
