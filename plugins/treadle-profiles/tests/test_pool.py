"""`pool`: how a job goes, what the log tells, and what happens when too much is offered."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from treadle import Context, Jobs, fixed

pytestmark = pytest.mark.anyio

EMAIL = {"type": "email", "payload": "ada@example.com"}


def failing(retries: int, wait_s: float) -> Callable[[Jobs], object]:
    """Return what adds a handler that always fails."""

    def add(jobs: Jobs) -> object:
        @jobs.handler("email", retry=fixed(wait_s, retries=retries))
        async def email(payload: str) -> None:
            raise ValueError("no such mailbox")

        return email

    return add


@pytest.mark.contract("E03", "F08")
async def test_a_job_is_pending_then_processing_then_done(serve: Any) -> None:
    seen: list[str] = []

    def add(jobs: Jobs) -> object:
        @jobs.handler("email")
        async def email(ctx: Context, payload: str) -> None:
            seen.append((await pool.get(f"/jobs/{ctx.job_id}"))["status"])

        return email

    pool = serve("pool", add)
    id = (await pool.post("/jobs", EMAIL))["job_id"]
    before = await pool.get(f"/jobs/{id}")
    await pool.work()
    after = await pool.get(f"/jobs/{id}")

    assert [before["status"], *seen, after["status"]] == ["PENDING", "PROCESSING", "DONE"]
    assert before["updated_at"] <= after["updated_at"]


@pytest.mark.contract("E04", "F02", "F08")
async def test_a_job_that_fails_waits_as_retry_and_the_log_tells_of_both(serve: Any) -> None:
    pool = serve("pool", failing(3, 3_600))
    id = (await pool.post("/jobs", EMAIL))["job_id"]

    await pool.work()

    job = await pool.get(f"/jobs/{id}")
    assert (job["status"], job["retry_count"], job["max_retries"]) == ("RETRY", 1, 3)
    told = [re.sub(r"^\[.{19}\] ", "", line) for line in await pool.get("/logs")]
    assert told == [
        f"[ENQUEUE] Job {id} (email) was added to the queue",
        f"[UPDATE] Job {id} status: PROCESSING",
        f"[UPDATE] Job {id} status: FAILED",
        f"[UPDATE] Job {id} status: RETRY",
    ]


@pytest.mark.contract("F02")
@pytest.mark.parametrize(
    ("settings", "body", "retries"),
    [({}, {}, 3), ({"MAX_RETRIES": "2"}, {}, 2), ({"MAX_RETRIES": "2"}, {"max_retries": 1}, 1)],
    ids=["default", "set", "of the job"],
)
async def test_retries_reach_the_maximum_and_then_it_has_failed(
    serve: Any, settings: dict[str, str], body: dict[str, int], retries: int
) -> None:
    pool = serve("pool", failing(3, 0.001), **settings)
    id = (await pool.post("/jobs", {**EMAIL, **body}))["job_id"]

    job = await pool.get(f"/jobs/{id}")
    while job["status"] != "FAILED":
        await pool.work()
        job = await pool.get(f"/jobs/{id}")

    assert (job["retry_count"], job["max_retries"]) == (retries, retries)
    assert (await pool.get("/logs"))[-1].endswith(f"Job {id} status: FAILED")


@pytest.mark.contract("E02")
async def test_jobs_are_listed_the_newest_first(serve: Any) -> None:
    pool = serve("pool", failing(0, 0))
    ids = [(await pool.post("/jobs", EMAIL))["job_id"] for _ in range(3)]

    assert [job["id"] for job in await pool.get("/jobs")] == ids[::-1]


@pytest.mark.contract("F11", "F20")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('{"type": "nothing", "payload": ""}', 422),
        ('{"type": "email", "payload": {}}', 422),
        ('{"payload": ""}', 422),
        ('{"type": "email"', 400),
    ],
)
async def test_what_does_not_fit_is_refused_and_not_stored(
    serve: Any, body: str, code: int
) -> None:
    pool = serve("pool", failing(0, 0))

    answer = await pool.client.post(
        "/jobs", content=body, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == code
    assert await pool.get("/jobs") == []


@pytest.mark.contract("F20")
async def test_an_unknown_id_is_404_and_a_store_that_is_away_503(
    serve: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    pool = serve("pool")
    away = serve("pool", failing(0, 0), QRUN_URL=f"sqlite:///{tmp_path}/file/jobs.db")

    for id in ("20260101000000-abcdef", "no%20id", "a" * 200):
        assert (await pool.client.get(f"/jobs/{id}")).status_code == 404
    for answer in (
        await away.client.get("/jobs"),
        await away.client.get("/health"),
        await away.client.get("/logs"),
        await away.client.post("/jobs", json=EMAIL),
    ):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


async def test_what_is_to_be_hidden_is_hidden(serve: Any) -> None:
    pool = serve("pool", failing(0, 0), QRUN_REDACT="payload.payload")
    id = (await pool.post("/jobs", EMAIL))["job_id"]

    job = await pool.get(f"/jobs/{id}")

    assert "ada" not in str(job)


@pytest.mark.contract("F06")
@pytest.mark.parametrize("profile", ["pool", "documents"])
def test_ten_times_the_buffer_is_offered_and_nothing_is_dropped(
    web: Any, tmp_path: Path, profile: str
) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    server = web("--profile", profile, "--no-worker", QRUN_URL=url, BUFFER_SIZE="3")
    done: list[int] = []
    jobs = Jobs(url)

    @jobs.handler("email")
    async def email(payload: str) -> None:
        done.append(int(payload))

    offered = list(range(30))
    told: list[int] = []

    while offered:
        refused: list[int] = []
        for number in offered:
            payload: Any = str(number) if profile == "pool" else {"payload": str(number)}
            answer = server.client.post("/jobs", json={"type": "email", "payload": payload})
            if answer.status_code == 429:
                assert int(answer.headers["Retry-After"]) >= 1
                refused.append(number)
            else:
                assert answer.is_success
        assert len(refused) == len(offered) - 3
        told += refused
        offered = refused
        anyio.run(jobs.worker(burst=True).run)

    assert callable(email)
    assert len(told) == sum(range(3, 30, 3))
    assert sorted(done) == list(range(30))
