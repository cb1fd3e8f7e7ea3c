"""Events: live as server-sent events, resumed, filtered, bounded; and the same as pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from treadle_web import Limits

from treadle import Jobs
from treadle.domain.limits import EVENTS_KEPT


class Stream:
    """The events of an open answer."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self._lines: Iterator[str] = answer.iter_lines()

    def next(self) -> dict[str, Any]:
        """Wait for the next event; comments and what has no data are left out."""
        found: dict[str, Any] = {}
        for line in self._lines:
            name, _, value = line.partition(": ")
            if line and name:
                found[name] = value
            elif not line and "data" in found:
                return {**found, "data": json.loads(found["data"])}
            elif not line:
                found = {}
        raise EOFError

    def close(self) -> None:
        """Listen no more."""
        self.answer.close()

    def jobs(self, count: int) -> list[tuple[str, str]]:
        """Return event and job of the next events of jobs."""
        return [(one["data"]["event"], one["data"]["id"]) for one in self.take(count)]

    def take(self, count: int) -> list[dict[str, Any]]:
        """Return the next events of jobs."""
        found = [self.next() for _ in range(count)]
        assert {one["event"] for one in found} == {"job"}
        return found


@pytest.fixture
def listen(request: pytest.FixtureRequest) -> Callable[..., Stream]:
    """Give a way to listen to a server; the first event, `open`, is read."""

    def start(served: Any, query: str = "", **headers: str) -> Stream:
        asked = served.client.build_request("GET", f"/api/v1/events{query}", headers=headers)
        answer = served.client.send(asked, stream=True)
        assert answer.status_code == 200, answer.read()
        stream = Stream(answer)
        request.addfinalizer(stream.close)  # kept until then: who forgets an answer closes it
        assert stream.next()["event"] == "open"
        return stream

    return start


@pytest.fixture(params=["sqlite", "memory"])
def either(
    request: pytest.FixtureRequest, url: str, serve: Any, app_of: Callable[[str], Jobs]
) -> Any:
    """Give a server on each store of the box."""
    return serve(app_of("memory://" if request.param == "memory" else url))


def test_what_happens_is_told_as_it_happens(either: Any, listen: Any) -> None:
    stream = listen(either)

    id = either.create(queue="mail")["id"]
    either.post(f"/api/v1/jobs/{id}/cancel")

    created, cancelled = stream.take(2)
    assert stream.answer.headers["Content-Type"] == "text/event-stream"
    assert created["data"] == {
        "at": created["data"]["at"],
        "event": "enqueue",
        "queue": "mail",
        "id": id,
        "type": None,
        "state": "waiting",
    }
    assert (cancelled["data"]["event"], cancelled["data"]["state"]) == ("cancel", "cancelled")


def test_a_stream_goes_on_behind_the_last_event_that_arrived(either: Any, listen: Any) -> None:
    first = listen(either)
    ids = [either.create()["id"] for _ in range(3)]
    seen = first.take(1)[0]

    resumed = listen(either, **{"Last-Event-ID": seen["id"]})
    ids.append(either.create()["id"])

    assert seen["data"]["id"] == ids[0]
    assert [id for _, id in resumed.jobs(3)] == ids[1:]


def test_the_place_to_begin_may_be_in_the_query_and_the_header_goes_before_it(
    served: Any, listen: Any
) -> None:
    first = listen(served)
    ids = [served.create()["id"] for _ in range(3)]
    seen = first.take(3)

    by_query = listen(served, f"?since={seen[0]['id']}")
    by_header = listen(served, f"?since={seen[0]['id']}", **{"Last-Event-ID": seen[1]["id"]})

    assert by_query.jobs(2) == [("enqueue", ids[1]), ("enqueue", ids[2])]
    assert by_header.jobs(1) == [("enqueue", ids[2])]


def test_who_comes_too_late_is_told_that_the_past_is_gone(served: Any, listen: Any) -> None:
    first = listen(served)
    served.create()
    (seen,) = first.take(1)
    first.close()

    _fill(served, EVENTS_KEPT + 1)

    late = listen(served, **{"Last-Event-ID": seen["id"]})
    told = late.next()
    id = served.create()["id"]

    assert told["event"] == "gap"
    assert told["data"] == {"cursor": told["id"]}
    assert late.jobs(1) == [("enqueue", id)]


def _fill(served: Any, events: int) -> None:
    """Let so many events happen."""
    job = {"type": "note.write", "payload": {"number": 1}, "delay": 3600}
    for _ in range(-(-events // 1_000)):
        answer = served.post("/api/v1/jobs/batch", {"jobs": [job] * 1_000})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("?queue=mail", ["two", "three"]),
        ("?type=note.fail", ["three"]),
        ("?queue=mail&type=note.write", ["two"]),
        ("?job=one", ["one"]),
    ],
)
def test_a_stream_may_be_about_one_queue_type_or_job(
    served: Any, listen: Any, query: str, wanted: list[str]
) -> None:
    stream = listen(served, query)

    served.create(id="one")
    served.create(id="two", queue="mail")
    served.create("note.fail", id="three", queue="mail", payload={"why": "no paper"})

    assert [id for _, id in stream.jobs(len(wanted))] == wanted


def test_the_type_is_told_where_it_was_asked_for(served: Any, listen: Any) -> None:
    stream = listen(served, "?type=note.write")

    served.create()

    assert stream.next()["data"]["type"] == "note.write"


def test_a_silent_stream_says_that_it_lives(url: str, serve: Any, app_of: Any, listen: Any) -> None:
    served = serve(app_of(url), limits=Limits(keep_alive_s=0.05, stream_s=30))

    with served.client.stream("GET", "/api/v1/events") as answer:
        assert ": keep-alive" in answer.iter_lines()


def test_no_more_listen_than_may(url: str, serve: Any, app_of: Any, listen: Any) -> None:
    served = serve(app_of(url), limits=Limits(listeners=2))
    listen(served)
    listen(served)

    answer = served.get("/api/v1/events")

    assert (answer.status_code, answer.json()["code"]) == (503, "too_many_listeners")
    assert int(answer.headers["Retry-After"]) > 0


def test_who_goes_makes_room(url: str, serve: Any, app_of: Any, listen: Any) -> None:
    served = serve(app_of(url), limits=Limits(listeners=1, keep_alive_s=0.05))
    first = listen(served)
    first.close()

    codes: list[int] = []
    while codes[-1:] != [200]:
        with served.client.stream("GET", "/api/v1/events") as answer:
            codes.append(answer.status_code)

    assert set(codes) <= {200, 503}


def test_a_stream_ends_after_its_time(url: str, serve: Any, app_of: Any) -> None:
    served = serve(app_of(url), limits=Limits(stream_s=0.05))

    answer = served.get("/api/v1/events")

    assert answer.status_code == 200
    assert answer.text.startswith("retry: ")


def test_head_tells_the_headers_only(served: Any) -> None:
    answer = served.client.head("/api/v1/events")

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Type"] == "text/event-stream"


@pytest.mark.parametrize("cursor", ["yesterday", "-1", "9" * 30])
def test_what_is_no_cursor_is_refused(served: Any, cursor: str) -> None:
    for path, answer in (
        ("$query.since", served.get(f"/api/v1/events?since={cursor}")),
        (
            "$header.Last-Event-ID",
            served.get("/api/v1/events?since=0", headers={"Last-Event-ID": cursor}),
        ),
        ("$query.cursor", served.get(f"/api/v1/logs?cursor={cursor}")),
    ):
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["path"]) == (422, "invalid", path)


@pytest.mark.contract("F08")
def test_the_log_is_read_in_pages_from_its_oldest_event(either: Any) -> None:
    id = either.create()["id"]
    either.work()
    other = either.fail("no paper")

    first = either.get("/api/v1/logs?limit=2").json()
    rest = either.get("/api/v1/logs", params={"cursor": first["cursor"]}).json()
    end = either.get("/api/v1/logs", params={"cursor": rest["cursor"]}).json()

    told = [(one["event"], one["id"], one["type"]) for one in first["items"] + rest["items"]]
    assert told == [
        ("enqueue", id, "note.write"),
        ("claim", id, "note.write"),
        ("succeed", id, "note.write"),
        ("enqueue", other, "note.fail"),
        ("claim", other, "note.fail"),
        ("fail", other, "note.fail"),
    ]
    assert [page["complete"] for page in (first, rest, end)] == [False, True, True]
    assert end == {"items": [], "cursor": rest["cursor"], "complete": True, "gap": False}
    assert all(one["at"].endswith("Z") for one in first["items"])


def test_the_log_may_be_about_one_queue_type_or_job(served: Any) -> None:
    served.create(id="one")
    served.create(id="two", queue="mail")

    def asked(query: str) -> list[str]:
        return [one["id"] for one in served.get(f"/api/v1/logs?{query}").json()["items"]]

    assert asked("queue=mail") == ["two"]
    assert asked("type=note.write") == ["one", "two"]
    assert asked("job=one&type=note.write") == ["one"]
    assert asked("type=note.fail") == []


def test_a_cursor_older_than_the_log_is_told_to_have_a_gap(served: Any) -> None:
    served.create()
    early = served.get("/api/v1/logs").json()["cursor"]
    _fill(served, EVENTS_KEPT + 1)

    late = served.get("/api/v1/logs", params={"cursor": early}).json()
    begun = served.get("/api/v1/logs").json()

    assert (late["gap"], begun["gap"]) == (True, False)
    assert len(late["items"]) == 100
