"""Jobs over HTTP: what is sent, what comes back, and what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import Any

import pytest

PATIENCE_S = 120.0


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Give what closes at the end of a test."""
    with ExitStack() as opened:
        yield opened


@pytest.mark.contract("E15")
def test_a_job_is_enqueued_with_its_options_and_can_be_read(served: Any) -> None:
    answer = served.post(
        "/api/v1/jobs",
        {
            "type": "note.write",
            "payload": {"number": 7},
            "queue": "mail",
            "priority": "high",
            "retries": 1,
            "delay": 3600,
        },
    )

    created = answer.json()
    job = served.get(answer.headers["Location"]).json()
    assert answer.status_code == 201
    assert created["state"] == job["state"] == "scheduled"
    assert (job["queue"], job["priority"], job["max_attempts"]) == ("mail", "high", 2)
    assert job["payload"] == {"number": 7}


@pytest.mark.contract("E16")
@pytest.mark.contract("F14")
def test_a_finished_job_shows_its_result(served: Any) -> None:
    id = served.create(payload={"number": 42})["id"]

    served.work()

    job = served.get(f"/api/v1/jobs/{id}").json()
    assert (job["state"], job["result"], job["error"]) == ("succeeded", 42, None)


def test_an_unknown_job_is_404_with_a_problem_and_the_request_id(served: Any) -> None:
    answer = served.get("/api/v1/jobs/nobody", headers={"X-Request-Id": "mine-1"})

    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-Id"] == answer.json()["request_id"] == "mine-1"
    assert answer.json()["code"] == "QRUN-J003"


def test_an_id_that_no_job_can_have_is_404_and_never_reaches_the_store(served: Any) -> None:
    for id in ("a%20b", "%00", "%F0%9F%92%A9", "x" * 200):
        assert served.get(f"/api/v1/jobs/{id}").status_code == 404


def test_a_replayed_idempotency_key_gets_the_first_answer(served: Any) -> None:
    body = {"type": "note.write", "payload": {"number": 1}}
    key = {"Idempotency-Key": "order-17"}
    first = served.post("/api/v1/jobs", body, headers=key)
    served.work()

    again = served.post("/api/v1/jobs", body, headers=key)

    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert len(served.get("/api/v1/jobs").json()["items"]) == 1


def test_a_replay_is_told_the_first_answer_also_when_the_record_is_gone(served: Any) -> None:
    body = {"type": "note.write", "payload": {"number": 1}}
    key = {"Idempotency-Key": "order-18"}
    first = served.post("/api/v1/jobs", body, headers=key)
    served.work()
    assert served.client.delete(f"/api/v1/jobs/{first.json()['id']}").status_code == 204

    again = served.post("/api/v1/jobs", body, headers=key)

    assert (again.status_code, again.content) == (201, first.content)


@pytest.mark.parametrize("other", [{"payload": {"number": 2}}, {"queue": "else"}, {"delay": 5}])
def test_an_idempotency_key_for_another_request_is_refused(
    served: Any, other: dict[str, object]
) -> None:
    body = {"type": "note.write", "payload": {"number": 1}}
    key = {"Idempotency-Key": "order-19"}
    served.post("/api/v1/jobs", body, headers=key)

    answer = served.post("/api/v1/jobs", {**body, **other}, headers=key)

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert len(served.get("/api/v1/jobs").json()["items"]) == 1


def test_an_own_id_of_another_queue_is_no_earlier_use_of_a_key(served: Any) -> None:
    body = {"type": "note.write", "payload": {"number": 1}, "id": "mine"}
    served.post("/api/v1/jobs", {**body, "queue": "mail"})

    answer = served.post(
        "/api/v1/jobs", {**body, "queue": "print"}, headers={"Idempotency-Key": "order-20"}
    )

    assert (answer.status_code, answer.json()["queue"]) == (201, "print"), answer.text
    assert "Idempotency-Replayed" not in answer.headers


@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/jobs/batch"])
def test_of_requests_that_come_together_under_one_key_one_counts(
    served: Any, path: str, stack: ExitStack
) -> None:
    numbers = (1, 2) * 4
    address = served.url.removeprefix("http://")
    callers = [
        stack.enter_context(closing(HTTPConnection(address, timeout=PATIENCE_S))) for _ in numbers
    ]
    for turn in range(10):  # that they meet is not sure in one
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"order-{turn}"}
        for caller, number in zip(callers, numbers, strict=True):  # all are sent, none is read yet
            job = {"type": "note.write", "payload": {"number": number}}
            body = json.dumps(job if path.endswith("jobs") else {"jobs": [job]})
            caller.request("POST", path, body, headers)
        answers = [caller.getresponse() for caller in callers]
        heard = [(one.headers["Idempotency-Replayed"], one.read(), one.status) for one in answers]
        accepted = [one for one in heard if one[2] != 422]

        assert len(accepted) == 4, heard
        assert len({(content, status) for _, content, status in accepted}) == 1
        assert [replayed for replayed, _, _ in accepted].count(None) == 1


def test_many_jobs_are_enqueued_at_once_and_replayed_as_one(served: Any) -> None:
    body = {"jobs": [{"type": "note.write", "payload": {"number": n}} for n in range(5)]}
    key = {"Idempotency-Key": "load-1"}

    first = served.post("/api/v1/jobs/batch", body, headers=key)
    again = served.post("/api/v1/jobs/batch", body, headers=key)

    assert first.status_code == 200
    assert again.content == first.content
    assert len({item["job"]["id"] for item in first.json()["items"]}) == 5
    assert len(served.get("/api/v1/jobs").json()["items"]) == 5


def test_nothing_of_a_batch_is_stored_if_one_does_not_fit(served: Any) -> None:
    jobs = [{"type": "note.write", "payload": {"number": n}} for n in (1, "two", 3)]

    answer = served.post("/api/v1/jobs/batch", {"jobs": jobs})

    assert (answer.status_code, answer.json()["path"]) == (422, "$.jobs[1].payload.number")
    assert served.get("/api/v1/jobs").json()["items"] == []


def test_a_known_id_answers_200_with_the_job_that_is_there(served: Any) -> None:
    served.create(id="mine")

    answer = served.post(
        "/api/v1/jobs", {"type": "note.write", "payload": {"number": 9}, "id": "mine"}
    )

    assert (answer.status_code, answer.json()["is_new"]) == (200, False)
    assert served.get("/api/v1/jobs/mine").json()["payload"] == {"number": 1}


def test_a_held_unique_key_that_rejects_is_a_conflict(served: Any) -> None:
    served.create(unique="one")

    answer = served.post(
        "/api/v1/jobs",
        {
            "type": "note.write",
            "payload": {"number": 2},
            "unique": "one",
            "on_conflict": "reject",
        },
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "QRUN-B014")


def test_a_listing_is_walked_by_cursor_without_loss_or_repetition(served: Any) -> None:
    made = [served.create(payload={"number": n})["id"] for n in range(7)]

    seen: list[str] = []
    query = {"limit": 3, "order": "oldest"}
    while True:
        page = served.get("/api/v1/jobs", params=query).json()
        seen += [job["id"] for job in page["items"]]
        if page["cursor"] is None:
            break
        query["cursor"] = page["cursor"]

    assert seen == made


def test_a_listing_is_filtered(served: Any) -> None:
    served.create(queue="mail")
    wanted = served.create(queue="other")["id"]
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()

    by_queue = served.get("/api/v1/jobs", params={"queue": "other", "state": "queued"}).json()
    by_time = served.get("/api/v1/jobs", params={"since": later}).json()

    assert [job["id"] for job in by_queue["items"]] == [wanted]
    assert by_time["items"] == []


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("limit=0", "$query.limit"),
        ("limit=1001", "$query.limit"),
        ("state=lost", "$query.state"),
        ("cursor=none", "$query.cursor"),
        ("limit=1&limit=2", "$query.limit"),
        ("since=yesterday", "$query.since"),
        ("until=0.5", "$query.until"),
        ("colour=red", "$query"),
    ],
)
def test_a_query_that_does_not_fit_is_422_and_names_the_field(
    served: Any, query: str, path: str
) -> None:
    answer = served.get(f"/api/v1/jobs?{query}")

    assert (answer.status_code, answer.json()["path"]) == (422, path)


def test_a_waiting_job_is_cancelled_and_a_final_one_is_retried_and_deleted(served: Any) -> None:
    id = served.create(delay=60)["id"]

    cancelled = served.post(f"/api/v1/jobs/{id}/cancel")
    again = served.post(f"/api/v1/jobs/{id}/cancel")
    retried = served.post(f"/api/v1/jobs/{id}/retry")
    early = served.client.delete(f"/api/v1/jobs/{id}")
    served.post(f"/api/v1/jobs/{id}/cancel")
    gone = served.client.delete(f"/api/v1/jobs/{id}")

    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert (again.status_code, again.json()["code"]) == (409, "QRUN-J020")
    assert (retried.status_code, retried.json()["state"]) == (200, "queued")
    assert (early.status_code, gone.status_code, gone.content) == (409, 204, b"")


def test_an_action_under_an_old_etag_changes_nothing(served: Any) -> None:
    id = served.create(delay=60)["id"]
    seen = served.get(f"/api/v1/jobs/{id}").headers["ETag"]
    served.post(f"/api/v1/jobs/{id}/cancel")

    stale = served.post(f"/api/v1/jobs/{id}/retry", headers={"If-Match": seen})
    now = served.get(f"/api/v1/jobs/{id}")
    fresh = served.post(f"/api/v1/jobs/{id}/retry", headers={"If-Match": now.headers["ETag"]})

    assert (stale.status_code, now.json()["state"]) == (412, "cancelled")
    assert (fresh.status_code, fresh.json()["state"]) == (200, "queued")


def test_a_bulk_action_first_counts_and_then_acts(served: Any) -> None:
    for _ in range(3):
        served.create(queue="mail", delay=60)
    kept = served.create(queue="other", delay=60)["id"]
    body = {"action": "cancel", "filter": {"queue": "mail"}}

    told = served.post("/api/v1/jobs/bulk", {**body, "dry_run": True}).json()
    before = served.get("/api/v1/jobs", params={"state": "cancelled"}).json()["items"]
    done = served.post("/api/v1/jobs/bulk", body).json()
    again = served.post("/api/v1/jobs/bulk", body).json()

    assert (told["done"], told["dry_run"], before) == (3, True, [])
    assert (done["done"], done["skipped"], done["cursor"]) == (3, 0, None)
    assert (again["done"], again["skipped"]) == (0, 3)
    assert served.get(f"/api/v1/jobs/{kept}").json()["state"] == "scheduled"


@pytest.mark.contract("F27")
def test_the_history_tells_attempts_and_who_acted(served: Any) -> None:
    id = served.fail("no paper")
    served.post(f"/api/v1/dlq/{id}/retry")

    rows = served.get(f"/api/v1/jobs/{id}/history").json()["items"]

    assert [row["event"] for row in rows] == ["fail", "retry"]
    assert (rows[0]["error"]["type"], rows[0]["error"]["message"]) == ("ValueError", "no paper")
    assert rows[1]["by"] == "http:anybody"


def test_the_lines_that_a_handler_logged_are_told(served: Any) -> None:
    id = served.create("note.log", payload={"line": "halfway"})["id"]
    served.work()

    lines = served.get(f"/api/v1/jobs/{id}/logs").json()["items"]

    assert [line["text"] for line in lines] == ["halfway"]


def test_an_id_with_a_slash_is_written_with_percent(served: Any) -> None:
    served.create(id="a/b:c")

    answer = served.get("/api/v1/jobs/a%2Fb:c")
    history = served.get("/api/v1/jobs/a%2Fb:c/history")

    assert (answer.status_code, answer.json()["id"]) == (200, "a/b:c")
    assert history.status_code == 200


def test_integers_beyond_what_readers_keep_are_strings(url: str, serve: Any, app_of: Any) -> None:
    served = serve(app_of(url), typed=False)
    payload = {"big": 2**63, "low": -(2**60), "kept": 2**53 - 1, "list": [2**54]}

    id = served.create("any.type", payload=payload)["id"]
    job = served.get(f"/api/v1/jobs/{id}").json()

    assert job["payload"] == {
        "big": str(2**63),
        "low": str(-(2**60)),
        "kept": 2**53 - 1,
        "list": [str(2**54)],
    }
    assert isinstance(job["fence"], str)
