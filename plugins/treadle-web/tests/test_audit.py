"""Who did what, and how it was before and after: in the log `treadle.audit`, and in histories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from treadle_web.app import OPERATIONS
from treadle_web.operation import Scope

AUDIT = "treadle.audit"
BY = "http:anybody"
ONE = {"queue": "default", "job": "one"}

Told = tuple[str, dict[str, str]]


def _dead(served: Any, id: str = "one") -> str:
    """Leave a dead letter and return the fingerprint of what it died of."""
    served.create("note.fail", payload={"why": "no paper"}, id=id)
    served.work()
    mark: str = served.get("/api/v1/dlq").json()["items"][0]["fingerprint"]
    return mark


def _cancel(served: Any) -> Told:
    served.create(id="one")
    served.post("/api/v1/jobs/one/cancel")
    return "job_cancelled", {**ONE, "before": "queued", "after": "cancelled"}


def _retry(served: Any) -> Told:
    _dead(served)
    served.post("/api/v1/jobs/one/retry")
    return "job_retried", {**ONE, "before": "dead", "after": "queued"}


def _delete(served: Any) -> Told:
    _dead(served)
    served.client.delete("/api/v1/jobs/one")
    return "job_deleted", {**ONE, "before": "dead", "after": "removed"}


def _retry_dead(served: Any) -> Told:
    _dead(served)
    served.post("/api/v1/dlq/one/retry")
    return "dead_letter_retried", {**ONE, "before": "dead", "after": "queued"}


def _discard_dead(served: Any) -> Told:
    _dead(served)
    served.post("/api/v1/dlq/one/discard")
    return "dead_letter_discarded", {**ONE, "before": "dead", "after": "removed"}


def _bulk(served: Any) -> Told:
    served.create(id="one", delay=60)
    served.post("/api/v1/jobs/bulk", {"action": "cancel", "filter": {}})
    return "job_cancelled", {**ONE, "before": "scheduled", "after": "cancelled"}


def _retry_group(served: Any) -> Told:
    mark = _dead(served)
    served.post(f"/api/v1/dlq/groups/{mark}/retry")
    return "dead_letter_retried", {**ONE, "before": "dead", "after": "queued"}


def _discard_group(served: Any) -> Told:
    mark = _dead(served)
    served.post(f"/api/v1/dlq/groups/{mark}/discard")
    return "dead_letter_discarded", {**ONE, "before": "dead", "after": "removed"}


def _pause(served: Any) -> Told:
    served.create()
    served.post("/api/v1/queues/default/pause")
    return "queue_paused", {"queue": "default", "before": "active", "after": "paused"}


def _resume(served: Any) -> Told:
    served.create()
    served.post("/api/v1/queues/default/resume")
    return "queue_resumed", {"queue": "default", "before": "active", "after": "active"}


def _pause_cron(served: Any) -> Told:
    served.post("/api/v1/cron/nightly/pause")
    return "schedule_paused", {"schedule": "nightly", "before": "new", "after": "paused"}


def _resume_cron(served: Any) -> Told:
    served.post("/api/v1/cron/nightly/resume")
    return "schedule_resumed", {"schedule": "nightly", "before": "new", "after": "active"}


def _run_cron(served: Any) -> Told:
    id = served.post("/api/v1/cron/nightly/run").json()["id"]
    what = {"schedule": "nightly", "queue": "default", "job": id}
    return "schedule_run", {**what, "before": "absent", "after": "queued"}


ACTIONS: dict[str, Callable[[Any], Told]] = {
    "cancel_job": _cancel,
    "retry_job": _retry,
    "delete_job": _delete,
    "retry_dead": _retry_dead,
    "discard_dead": _discard_dead,
    "bulk_jobs": _bulk,
    "retry_group": _retry_group,
    "discard_group": _discard_group,
    "pause_queue": _pause,
    "resume_queue": _resume,
    "pause_cron": _pause_cron,
    "resume_cron": _resume_cron,
    "run_cron": _run_cron,
}


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[Told]]:
    """Give a way to read what the audit log was told."""
    caplog.set_level("INFO", logger=AUDIT)
    names = ("by", "schedule", "queue", "job", "before", "after")

    def read() -> list[Told]:
        lines = [vars(one) for one in caplog.records if one.name == AUDIT]
        return [
            (line["message"], {name: line[name] for name in names if name in line})
            for line in lines
        ]

    return read


@pytest.mark.security(15)
def test_there_is_an_example_here_of_everything_that_operates() -> None:
    operate = {one.name for one in OPERATIONS if one.scope is Scope.OPERATE}

    assert set(ACTIONS) == operate


@pytest.mark.security(15)
@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_is_recorded_with_who_what_before_and_after(
    served: Any, told: Callable[[], list[Told]], name: str
) -> None:
    event, fields = ACTIONS[name](served)

    assert told() == [(event, {"by": BY, **fields})]


@pytest.mark.security(15)
@pytest.mark.parametrize("tag", ["*", '"1"'])
def test_what_was_refused_is_not_recorded_as_done(
    served: Any, told: Callable[[], list[Told]], tag: str
) -> None:
    _dead(served)

    answer = served.post("/api/v1/jobs/one/cancel", headers={"If-Match": tag})

    assert answer.status_code in (409, 412)
    assert told() == []


@pytest.mark.security(15)
def test_a_dry_run_is_not_recorded(served: Any, told: Callable[[], list[Told]]) -> None:
    served.create()

    served.post("/api/v1/jobs/bulk", {"action": "cancel", "filter": {}, "dry_run": True})

    assert told() == []


@pytest.mark.security(15)
def test_an_action_under_a_fence_is_recorded_too(
    served: Any, told: Callable[[], list[Told]]
) -> None:
    served.create(id="one")
    tag = served.get("/api/v1/jobs/one").headers["etag"]

    served.post("/api/v1/jobs/one/cancel", headers={"If-Match": tag})

    assert told() == [
        ("job_cancelled", {"by": BY, **ONE, "before": "queued", "after": "cancelled"})
    ]


@pytest.mark.security(15)
def test_the_history_of_a_job_tells_who_did_what_before_and_after(served: Any) -> None:
    _dead(served)
    served.post("/api/v1/jobs/one/retry")
    served.post("/api/v1/jobs/one/cancel")

    rows = served.get("/api/v1/jobs/one/history").json()["items"]

    assert [(row["event"], row["by"], row["before"], row["after"]) for row in rows] == [
        ("fail", None, None, None),
        ("retry", BY, "dead", "queued"),
        ("cancel", BY, "queued", "cancelled"),
    ]


@pytest.mark.security(15)
def test_each_job_of_a_bulk_action_is_recorded(served: Any, told: Callable[[], list[Told]]) -> None:
    ids = {served.create()["id"] for _ in range(3)}

    served.post("/api/v1/jobs/bulk", {"action": "cancel", "filter": {}})

    assert {fields["job"] for _, fields in told()} == ids
