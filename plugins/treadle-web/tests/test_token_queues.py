"""Tokens that are for some queues: what they see, what they may do, and what they never reach."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from treadle_web import Limits, access, tokens
from treadle_web.operation import Scope

from treadle import ConfigurationError, Jobs

SECRET = "a-secret-of-more-than-32-characters"
JOB = {"type": "note.write", "payload": {"number": 1}}


@pytest.fixture
def mail(url: str, serve: Any, app_of: Any) -> Any:
    """Give a server with jobs in two queues, to whose client a token for `mail` belongs."""
    locked = serve(app_of(url), access=access(token=SECRET))
    for queue in ("mail", "reports"):
        for number in range(2):
            job = {**JOB, "queue": queue, "id": f"{queue}-{number}"}
            locked.post("/api/v1/jobs", job, headers={"Authorization": f"Bearer {SECRET}"})

    async def make() -> str:
        async with Jobs(url).broker() as broker:
            return await tokens.create(broker, "eve", Scope, queues=["mail"])

    locked.client.headers["Authorization"] = f"Bearer {anyio.run(make)}"
    return locked


@pytest.mark.security(8)
def test_a_token_for_a_queue_sees_what_is_in_that_one_only(mail: Any) -> None:
    listed = mail.get("/api/v1/jobs").json()["items"]
    log = mail.get("/api/v1/logs").json()["items"]
    queues = mail.get("/api/v1/queues").json()["items"]

    assert {one["queue"] for one in (*listed, *log, *queues)} == {"mail"}
    assert len(listed) == 2
    assert mail.get("/api/v1/jobs/mail-0").status_code == 200
    assert mail.get("/api/v1/queues/mail/stats").status_code == 200
    assert mail.get("/api/v1/handlers").json()["items"] == []
    assert mail.get("/api/v1/cron").json()["items"] == []


@pytest.mark.security(8)
@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/v1/jobs?queue=reports", None, 403),
        ("GET", "/api/v1/dlq?queue=reports", None, 403),
        ("GET", "/api/v1/dlq/groups?queue=reports", None, 403),
        ("GET", "/api/v1/jobs/reports-0", None, 404),
        ("GET", "/api/v1/jobs/reports-0?queue=reports", None, 403),
        ("GET", "/api/v1/jobs/reports-0/history", None, 404),
        ("GET", "/api/v1/jobs/reports-0/logs", None, 404),
        ("POST", "/api/v1/jobs/reports-0/cancel", None, 404),
        ("POST", "/api/v1/jobs/reports-0/cancel?queue=reports", None, 403),
        ("DELETE", "/api/v1/jobs/reports-0", None, 404),
        ("POST", "/api/v1/dlq/reports-0/retry", None, 404),
        ("POST", "/api/v1/dlq/reports-0/discard", None, 404),
        ("POST", "/api/v1/dlq/groups/fp_0/retry", {"queue": "reports"}, 403),
        ("POST", "/api/v1/jobs", JOB, 403),
        ("POST", "/api/v1/jobs/batch", {"jobs": [{**JOB, "queue": "mail"}, JOB]}, 403),
        (
            "POST",
            "/api/v1/jobs/bulk",
            {"action": "delete", "filter": {"queue": "reports"}},
            403,
        ),
        ("GET", "/api/v1/queues/reports/stats", None, 403),
        ("POST", "/api/v1/queues/reports/pause", None, 403),
        ("GET", "/api/v1/cron/nightly", None, 404),
        ("POST", "/api/v1/cron/nightly/run", None, 404),
        ("GET", "/api/v1/workers", None, 403),
        ("GET", "/metrics", None, 403),
    ],
)
def test_a_token_for_a_queue_reaches_no_other(
    mail: Any, method: str, path: str, body: object, status: int
) -> None:
    given = {} if body is None else {"json": body}

    assert mail.client.request(method, path, **given).status_code == status


@pytest.mark.security(8)
def test_a_token_for_a_queue_acts_within_it(mail: Any) -> None:
    made = mail.post("/api/v1/jobs", {**JOB, "queue": "mail"})
    cancelled = mail.post("/api/v1/jobs/mail-0/cancel")
    done = mail.post("/api/v1/jobs/bulk", {"action": "cancel", "filter": {}}).json()

    everything = {"Authorization": f"Bearer {SECRET}"}
    left = mail.get("/api/v1/jobs?state=queued", headers=everything).json()["items"]
    assert (made.status_code, cancelled.status_code, done["done"]) == (201, 200, 2)
    assert {one["queue"] for one in left} == {"reports"}


@pytest.mark.security(8)
def test_a_token_for_two_queues_finds_a_job_in_either_and_names_one_for_a_listing(
    mail: Any, url: str
) -> None:
    async def make() -> str:
        async with Jobs(url).broker() as broker:
            return await tokens.create(broker, "eve", Scope, queues=["mail", "low"])

    both = {"Authorization": f"Bearer {anyio.run(make)}"}

    def asked(path: str) -> int:
        status: int = mail.get(path, headers=both).status_code
        return status

    assert [asked("/api/v1/jobs/mail-0"), asked("/api/v1/jobs/reports-0")] == [200, 404]
    assert [asked("/api/v1/jobs"), asked("/api/v1/jobs?queue=mail")] == [403, 200]
    assert mail.get("/api/v1/queues", headers=both).json()["items"][0]["queue"] == "mail"


@pytest.mark.security(8)
def test_a_token_for_a_queue_hears_of_no_other(mail: Any, serve: Any, app_of: Any) -> None:
    short = serve(
        app_of(mail.jobs.url.raw), access=access(token=SECRET), limits=Limits(stream_s=0.1)
    )

    heard = short.get("/api/v1/events?since=0", headers=dict(mail.client.headers)).text

    assert '"mail-0"' in heard
    assert "reports" not in heard


def test_a_token_is_for_queues_that_can_be_one(url: str) -> None:
    async def make() -> str:
        async with Jobs(url).broker() as broker:
            return await tokens.create(broker, "eve", [Scope.READ], queues=["no queue"])

    with pytest.raises(ConfigurationError, match="no queue"):
        anyio.run(make)
