"""Queues, dead letters, schedules, workers, health and metrics over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from treadle_web import Limits, access, create_app

from treadle import Jobs


@pytest.mark.contract("E17")
def test_the_counts_of_a_queue_are_told(served: Any) -> None:
    served.create(queue="mail")
    served.create(queue="mail", delay=60)

    stats = served.get("/api/v1/queues/mail/stats").json()

    assert (stats["waiting"], stats["later"], stats["dead"], stats["paused"]) == (2, 1, 0, False)
    assert stats["oldest_ms"] >= 0
    assert [one["queue"] for one in served.get("/api/v1/queues").json()["items"]] == ["mail"]
    assert served.get("/api/v1/queues/none/stats").status_code == 404


def test_a_paused_queue_gives_no_jobs_until_it_is_resumed(served: Any) -> None:
    id = served.create()["id"]

    paused = served.post("/api/v1/queues/default/pause").json()
    served.work()
    waiting = served.get(f"/api/v1/jobs/{id}").json()["state"]
    resumed = served.post("/api/v1/queues/default/resume").json()
    served.work()

    assert (paused["paused"], waiting, resumed["paused"]) == (True, "queued", False)
    assert served.get(f"/api/v1/jobs/{id}").json()["state"] == "succeeded"


@pytest.mark.contract("E18", "R03")
def test_dead_letters_are_listed_with_what_they_died_of(served: Any) -> None:
    served.create(delay=60)
    id = served.fail("no paper")

    items = served.get("/api/v1/dlq").json()["items"]

    assert [(one["id"], one["state"], one["reason"]) for one in items] == [
        (id, "dead", "exhausted")
    ]
    assert items[0]["error"] == {"type": "ValueError", "message": "no paper"}


@pytest.mark.contract("E19", "R03")
def test_a_dead_letter_is_queued_again(served: Any) -> None:
    id = served.fail("no paper")

    answer = served.post(f"/api/v1/dlq/{id}/retry")
    again = served.post(f"/api/v1/dlq/{id}/retry")

    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    assert (again.status_code, again.json()["code"]) == (409, "QRUN-J020")
    assert served.get("/api/v1/dlq").json()["items"] == []


def test_a_dead_letter_is_discarded_and_a_living_job_is_not(served: Any) -> None:
    id = served.fail("no paper")
    living = served.create(delay=60)["id"]

    done = served.post(f"/api/v1/dlq/{id}/discard")
    refused = served.post(f"/api/v1/dlq/{living}/discard")

    assert (done.status_code, refused.status_code) == (204, 409)
    assert served.get("/api/v1/dlq").json()["items"] == []


def test_failures_of_one_kind_are_one_group_whatever_numbers_they_name(served: Any) -> None:
    for why in ("order 17 of 'ada' is lost", "order 4711 of 'eve' is lost", "no paper"):
        served.create("note.fail", payload={"why": why})
    served.work()

    found = served.get("/api/v1/dlq/groups").json()

    assert [group["count"] for group in found["items"]] == [2, 1]
    assert (found["examined"], found["complete"]) == (3, True)
    marks = {one["fingerprint"] for one in served.get("/api/v1/dlq").json()["items"]}
    assert marks == {group["fingerprint"] for group in found["items"]}


def _three(served: Any) -> tuple[str, list[str]]:
    """Let two jobs die of the same and one of something else; return the mark and all ids."""
    whys = ("order 17 of 'ada' is lost", "order 4711 of 'eve' is lost", "no paper")
    ids = [served.create("note.fail", payload={"why": why})["id"] for why in whys]
    served.work()
    return served.get("/api/v1/dlq/groups").json()["items"][0]["fingerprint"], ids


def _dead(served: Any) -> set[str]:
    return {one["id"] for one in served.get("/api/v1/dlq").json()["items"]}


@pytest.mark.parametrize("action", ["retry", "discard"])
def test_a_dry_run_on_a_group_only_counts(served: Any, action: str) -> None:
    mark, ids = _three(served)

    told = served.post(f"/api/v1/dlq/groups/{mark}/{action}", {"dry_run": True}).json()

    assert (told["done"], told["examined"], told["cursor"]) == (2, 3, None)
    assert _dead(served) == set(ids)


def test_a_group_is_retried_and_the_others_stay(served: Any) -> None:
    mark, ids = _three(served)

    told = served.post(f"/api/v1/dlq/groups/{mark}/retry").json()

    assert (told["fingerprint"], told["done"], told["skipped"]) == (mark, 2, 0)
    assert _dead(served) == {ids[2]}
    assert served.get(f"/api/v1/jobs/{ids[0]}").json()["state"] == "queued"
    (row,) = served.get(f"/api/v1/jobs/{ids[0]}/history").json()["items"][-1:]
    assert (row["event"], row["by"]) == ("retry", "http:anybody")


def test_a_group_is_discarded_within_a_queue(served: Any) -> None:
    mark, ids = _three(served)

    none = served.post(f"/api/v1/dlq/groups/{mark}/discard", {"queue": "mail"}).json()
    both = served.post(f"/api/v1/dlq/groups/{mark}/discard", {"queue": "default"}).json()
    again = served.post(f"/api/v1/dlq/groups/{mark}/discard").json()

    assert [one["done"] for one in (none, both, again)] == [0, 2, 0]
    assert _dead(served) == {ids[2]}


def test_schedules_are_listed_paused_resumed_and_run(served: Any) -> None:
    listed = served.get("/api/v1/cron").json()["items"]
    paused = served.post("/api/v1/cron/nightly/pause").json()
    resumed = served.post("/api/v1/cron/nightly/resume").json()
    run = served.post("/api/v1/cron/nightly/run")

    assert [(one["name"], one["schedule"]) for one in listed] == [("nightly", "0 4 * * *")]
    assert (paused["state"], paused["by"], paused["next"]) == ("paused", "http:anybody", None)
    assert (resumed["state"], resumed["paused"]) == ("active", None)
    assert run.status_code == 201
    assert served.get(f"/api/v1/jobs/{run.json()['id']}").json()["type"] == "nightly"
    assert served.get("/api/v1/cron/yearly").status_code == 404


def test_workers_are_listed_while_they_are_at_work(served: Any, url: str) -> None:
    async def open_session() -> None:
        async with Jobs(url).broker() as broker:
            await broker.open("host-1", 60_000, b'{"version":"0.1.0"}')

    anyio.run(open_session)

    (worker,) = served.get("/api/v1/workers").json()["items"]

    assert (worker["name"], worker["state"], worker["info"]["version"]) == (
        "host-1",
        "alive",
        "0.1.0",
    )


def test_handlers_tell_the_schema_of_their_payload(served: Any) -> None:
    items = {one["type"]: one for one in served.get("/api/v1/handlers").json()["items"]}

    assert set(items) == {"nightly", "note.fail", "note.log", "note.write"}
    assert items["note.write"]["schema"]["properties"]["number"] == {"type": "integer"}
    assert items["note.write"]["workers"] == 0


def test_a_server_without_an_application_tells_the_handlers_of_living_workers(
    url: str, serve: Any, app_of: Any
) -> None:
    served = serve(Jobs(url))

    during: list[Any] = []

    async def look() -> None:
        worker = app_of(url).worker(concurrency=1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.run)
            await worker.started.wait()
            answer = await anyio.to_thread.run_sync(served.get, "/api/v1/handlers")
            during.extend(answer.json()["items"])
            worker.drain(0)

    anyio.run(look)

    found = {one["type"]: one for one in during}
    assert found["note.write"]["schema"]["required"] == ["number"]
    assert {one["workers"] for one in during} == {1}
    assert served.get("/api/v1/handlers").json()["items"] == []


def test_a_worker_that_tells_no_handlers_is_listed_all_the_same(served: Any, url: str) -> None:
    async def open_session() -> None:
        async with Jobs(url).broker() as broker:
            await broker.open("old", 60_000, b'{"version":"0.1.0","handlers":2}')
            await broker.open("odd", 60_000, b"no json")

    anyio.run(open_session)

    assert len(served.get("/api/v1/workers").json()["items"]) == 2
    assert served.get("/api/v1/handlers").status_code == 200


@pytest.mark.security(14)
@pytest.mark.contract("E20")
@pytest.mark.contract("R11")
def test_health_is_told_to_anybody_and_tells_nothing_else(
    url: str, serve: Any, app_of: Any
) -> None:
    served = serve(app_of(url), access=access())

    for path in ("/health", "/livez", "/readyz"):
        answer = served.get(path, headers={"Host": "10.1.2.3"})
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.contract("R05")
def test_metrics_count_jobs_by_queue_and_state(served: Any) -> None:
    served.create(queue="mail")
    served.create(queue="mail", delay=60)

    answer = served.get("/metrics")

    lines = answer.text.splitlines()
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'treadle_jobs{queue="mail",state="waiting"} 2' in lines
    assert 'treadle_queue_ready{queue="mail"} 1' in lines
    assert 'treadle_workers{state="alive"} 0' in lines
    assert {line.split()[3] for line in lines if line.startswith("# TYPE")} == {"gauge"}


def test_the_specification_is_valid_and_holds_what_is_served(
    url: str, serve: Any, app_of: Any
) -> None:
    served = serve(app_of(url), limits=Limits(stream_s=0.01))
    document = served.get("/api/v1/openapi.json").json()

    import_module("openapi_spec_validator").validate(document)
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": "/"}]
    ids = [op["operationId"] for path in document["paths"].values() for op in path.values()]
    assert len(ids) == len(set(ids)) >= 27
    for path, operations in document["paths"].items():
        sample = path.format(id="x", queue="x", name="x", fingerprint="x")
        for method in operations:
            answer = served.client.request(method, sample)
            assert answer.status_code != 405, (method, path)
            assert answer.json()["code"] != "not_found" if answer.status_code == 404 else True


def test_it_mounts_under_any_prefix(url: str, app_of: Callable[[str], Jobs], running: Any) -> None:
    httpx: Any = import_module("httpx")
    inner = create_app(app_of(url), access=access(open=True))
    outer = Starlette(routes=[Mount("/ops/jobs", inner)])

    with running(outer) as base, httpx.Client(base_url=f"{base}/ops/jobs", timeout=30) as client:
        body = {"type": "note.write", "payload": {"number": 1}, "id": "a/b"}
        made = client.post("/api/v1/jobs", json=body)
        found = client.get("/api/v1/jobs/a%2Fb")
        document = client.get("/api/v1/openapi.json").json()
        health = client.get("/health", headers={"Host": "10.0.0.1"})

    assert (made.status_code, found.json()["id"], health.status_code) == (201, "a/b", 200)
    assert made.headers["Location"] == "/ops/jobs/api/v1/jobs/a%2Fb?queue=default"
    assert document["servers"] == [{"url": "/ops/jobs"}]
