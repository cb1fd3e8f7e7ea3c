"""Who may ask a profile, and where its jobs are: the guards and settings of everything else hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from treadle_profiles import treadle_profiles
from treadle_web import tokens
from treadle_web.operation import Scope

from treadle import Jobs
from treadle.settings import load

pytestmark = pytest.mark.anyio

STORES = {"pool": "memory://", "submit": "memory://"}


def working(jobs: Jobs) -> object:
    """Add a handler that does nothing."""

    @jobs.handler("jqs")
    async def work() -> None:
        return None

    return work


@pytest.mark.parametrize(
    ("scopes", "queues", "codes"),
    [
        ([], (), (401, 401)),
        ([Scope.READ], (), (200, 403)),
        ([Scope.ENQUEUE], (), (403, 200)),
        ([Scope.READ, Scope.ENQUEUE], ("default",), (200, 200)),
        ([Scope.READ, Scope.ENQUEUE], ("other",), (403, 403)),
    ],
)
async def test_a_token_is_asked_for_its_scope_and_its_queues(
    serve: Any, scopes: Sequence[Scope], queues: Sequence[str], codes: tuple[int, int]
) -> None:
    jqs = serve("jqs", working)
    broker = await jqs.jobs.client.broker()
    token = await tokens.create(broker, "ci", scopes or [Scope.OPERATE], queues)
    headers = {"Authorization": f"Bearer {token}"} if scopes else {}

    got = await jqs.client.get("/jobs", headers=headers)
    put = await jqs.client.post("/jobs", json={}, headers=headers)

    assert (got.status_code, put.status_code) == codes
    assert (await jqs.client.get("/health")).status_code == 200


async def test_a_page_of_another_site_puts_nothing_in(serve: Any) -> None:
    jqs = serve("jqs", working)

    answer = await jqs.client.post("/jobs", json={}, headers={"Origin": "https://evil.example"})

    assert answer.status_code == 403


async def test_api_v1_is_there_beside_a_profile(serve: Any) -> None:
    jqs = serve("jqs", working)
    made = await jqs.post("/jobs", {})

    job = await jqs.get(f"/api/v1/jobs/{made['id']}")

    assert (job["type"], job["state"]) == ("jqs", "queued")


async def test_jobs_are_in_the_first_queue_that_workers_serve(serve: Any) -> None:
    jqs = serve("jqs", working, WORKER_QUEUES="fast,default")
    await jqs.post("/api/v1/jobs", {"type": "jqs", "id": "9", "queue": "default"})

    made = await jqs.post("/jobs", {})

    assert (await jqs.get(f"/api/v1/jobs/{made['id']}"))["queue"] == "fast"
    assert [row["id"] for row in await jqs.get("/jobs")] == [made["id"]]
    assert (await jqs.client.get("/jobs/9")).status_code == 404


@pytest.mark.contract("F18", "F30")
@pytest.mark.parametrize("name", ["pool", "submit", "documents", "jqs", "streams"])
@pytest.mark.parametrize("variable", ["QRUN_URL", "DATABASE_URL", "REDIS_URL"])
async def test_the_store_is_that_of_the_environment_else_that_of_the_profile(
    tmp_path: Path, name: str, variable: str
) -> None:
    (profile,) = [one for one in treadle_profiles() if one.name == name]

    own = load(folder=tmp_path, environ={}, defaults=profile.defaults)
    given = load(folder=tmp_path, environ={variable: "nats://there"}, defaults=profile.defaults)

    assert own.url == STORES.get(name, "sqlite:///.treadle/jobs.db")
    assert given.url == "nats://there"


@pytest.mark.contract("F01", "F02", "F06")
async def test_slots_buffer_and_retries_are_those_of_the_contract(tmp_path: Path) -> None:
    found = {
        one.name: load(folder=tmp_path, environ={}, defaults=one.defaults)
        for one in treadle_profiles()
    }

    told = {
        name: (own.worker.concurrency, own.web.buffer, own.job.retries)
        for name, own in found.items()
    }
    assert told == {
        "pool": (3, 100, 3),
        "submit": (10, None, 3),
        "documents": (5, 100, 3),
        "jqs": (5, None, 0),
        "streams": (10, None, 3),
    }
