"""`documents` and `submit`: documents, their states, and what is kept of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from treadle import Context, Jobs, Payload, fixed

pytestmark = pytest.mark.anyio

JOB = {"type": "page.print", "payload": {"pages": [1, 2]}}


def printing(jobs: Jobs) -> object:
    """Add a handler that fails if it shall; a retry waits for an hour."""

    @jobs.handler("page.print", retry=fixed(3_600, retries=3))
    async def print_pages(ctx: Context, whole: Payload) -> None:
        if "jam" in whole:
            raise ValueError(whole["jam"])

    return print_pages


@pytest.mark.contract("E08", "E09", "F11", "F14")
async def test_a_document_goes_from_pending_to_completed(serve: Any) -> None:
    documents = serve("documents", printing)
    made = await documents.post("/jobs", JOB)

    before = await documents.get(f"/jobs?id={made['id']}")
    await documents.work()
    after = await documents.get(f"/jobs?id={made['id']}")

    assert before == made
    assert after == {**made, "status": "completed", "updatedAt": after["updatedAt"]}
    assert after["updatedAt"] >= made["updatedAt"]


def counting(jobs: Jobs) -> object:
    """Add a handler that takes a number."""

    @jobs.handler("page.print")
    async def print_page(page: int) -> None: ...

    return print_page


@pytest.mark.contract("F20")
@pytest.mark.parametrize(
    ("payload", "path"), [("text", "$.payload"), ({"page": "one"}, "$.payload.page")]
)
async def test_a_payload_that_does_not_fit_is_named_where_it_stands_in_the_request(
    serve: Any, payload: object, path: str
) -> None:
    documents = serve("documents", counting)

    answer = await documents.client.post("/jobs", json={"type": "page.print", "payload": payload})

    assert (answer.status_code, answer.json()["path"]) == (422, path)


@pytest.mark.contract("F02")
@pytest.mark.parametrize(
    ("given", "status", "count"), [({}, "pending", 1), ({"maxRetries": 0}, "failed", 0)]
)
async def test_a_failure_counts_a_retry_until_there_is_none(
    serve: Any, given: dict[str, int], status: str, count: int
) -> None:
    documents = serve("documents", printing)
    made = await documents.post("/jobs", {**JOB, **given, "payload": {"jam": "paper"}})

    await documents.work()

    after = await documents.get(f"/jobs?id={made['id']}")
    assert (after["status"], after["retryCount"]) == (status, count)


@pytest.mark.contract("E10")
async def test_the_last_fifty_are_listed_the_newest_first(serve: Any) -> None:
    documents = serve("documents", printing)
    ids = [(await documents.post("/jobs", JOB))["id"] for _ in range(52)]

    listed = await documents.get("/jobs")

    assert [document["id"] for document in listed] == ids[:1:-1]
    created = [document["createdAt"] for document in listed]
    assert created == sorted(created, reverse=True)


@pytest.mark.contract("F12")
async def test_a_document_is_the_same_after_a_restart_and_kept_for_ever(serve: Any) -> None:
    first = serve("documents", printing)
    made = await first.post("/jobs", JOB)
    await first.work()
    before = await first.get(f"/jobs?id={made['id']}")
    await first.jobs.close()

    second = serve("documents", printing)

    assert await second.get(f"/jobs?id={made['id']}") == before
    policy = (await second.jobs.client.handle(made["id"]))._spec.policy
    assert (policy.retention_ms, policy.dead_retention_ms) == (None, None)


@pytest.mark.contract("F11")
@pytest.mark.parametrize("type", ["page.prnt", "no such", ""])
async def test_a_type_that_nobody_knows_is_refused(serve: Any, type: str) -> None:
    documents = serve("documents", printing)

    answer = await documents.client.post("/jobs", json={"type": type, "payload": {}})

    assert answer.status_code == 422
    assert await documents.get("/jobs") == []


@pytest.mark.contract("F20")
async def test_a_payload_that_is_no_object_is_refused(serve: Any) -> None:
    documents = serve("documents", printing)

    answer = await documents.client.post("/jobs", json={"type": "page.print", "payload": "text"})

    assert answer.status_code == 422
    assert (await documents.client.get("/jobs?id=" + "0" * 24)).status_code == 404


def _is_done(answer: Any) -> bool:
    return bool(answer["status"] == "DONE")


@pytest.mark.contract("E07", "F10")
def test_what_was_submitted_fails_now_and_then_and_is_done_in_the_end(
    web: Any, tmp_path: Path
) -> None:
    (tmp_path / "treadle.toml").write_text("[plugin.demo]\npace = 0.001\nfailing = 0.5\n")
    server = web("--profile", "submit", MAX_RETRIES="50")
    ids = [server.post("/submit", {"payload": str(number)})["job_id"] for number in range(20)]

    for number, id in enumerate(ids):
        done = server.until(f"/status/{id}", _is_done)
        assert done["payload"] == str(number)
    failed = server.get("/api/v1/logs?limit=1000")["items"]
    assert any(one["event"] == "fail" for one in failed)
    assert server.client.get("/status/none").status_code == 404
    assert re.fullmatch(r"[0-9a-f-]{36}", ids[0])
