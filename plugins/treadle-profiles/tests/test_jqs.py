"""`jqs`: any object is a job, numbers count up, results stay, lists have pages."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from treadle import Jobs, Payload

pytestmark = pytest.mark.anyio

EXAMPLES = [
    json.loads(line)["payload"]
    for line in (files("treadle.cli.demo") / "jobs.jsonl").read_text().splitlines()
]


def working(jobs: Jobs) -> object:
    """Add a handler that says what it did, or fails if it shall."""

    @jobs.handler("jqs")
    async def work(whole: Payload) -> dict[str, Any]:
        if "fail" in whole:
            raise ValueError(whole["fail"])
        return {"message": f"{whole.get('task')} is done"}

    return work


@pytest.mark.contract("E11", "E12", "F14", "F15")
@pytest.mark.parametrize("payload", EXAMPLES, ids=lambda payload: payload["task"])
async def test_any_object_is_a_job_whose_result_stays(serve: Any, payload: Any) -> None:
    jqs = serve("jqs", working)
    made = await jqs.post("/jobs", payload)

    await jqs.work()

    after = await jqs.get(f"/jobs/{made['id']}")
    assert made == {
        "id": 1,
        "payload": payload,
        "status": "queued",
        "result": None,
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
    }
    assert after == {
        **made,
        "status": "completed",
        "result": {"message": f"{payload['task']} is done"},
        "updated_at": after["updated_at"],
    }


@pytest.mark.contract("E11")
async def test_what_is_refused_takes_no_number(serve: Any) -> None:
    jqs = serve("jqs", working)
    refused = [await jqs.client.post("/jobs", json=body) for body in ([1], "text", 5, True)]

    made = await jqs.post("/jobs", {"task": "first"})

    assert [answer.status_code for answer in refused] == [422] * 4
    assert made["id"] == 1


@pytest.mark.contract("E12", "F14")
async def test_the_result_of_a_job_that_failed_is_its_error(serve: Any) -> None:
    jqs = serve("jqs", working)
    made = await jqs.post("/jobs", {"fail": "no paper"})

    await jqs.work()

    after = await jqs.get(f"/jobs/{made['id']}")
    assert (after["status"], after["result"]) == ("failed", {"error": "no paper"})


@pytest.mark.contract("E11")
async def test_numbers_count_up_over_two_servers_and_a_restart(serve: Any) -> None:
    servers = [serve("jqs", working), serve("jqs", working)]
    ids = [(await servers[n % 2].post("/jobs", {"n": n}))["id"] for n in range(6)]

    restarted = serve("jqs", working)
    ids.append((await restarted.post("/jobs", {"n": 6}))["id"])

    assert ids == [1, 2, 3, 4, 5, 6, 7]
    payloads = [(await restarted.get(f"/jobs/{id}"))["payload"]["n"] for id in ids]
    assert payloads == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.contract("E13", "F16")
async def test_pages_walk_the_list_the_newest_first(serve: Any) -> None:
    jqs = serve("jqs", working)
    for number in range(25):
        await jqs.post("/jobs", {"n": number})

    pages = [
        [row["id"] for row in await jqs.get(f"/jobs?page={page}&limit=10")] for page in (1, 2, 3, 4)
    ]

    assert pages == [list(range(25, 15, -1)), list(range(15, 5, -1)), [5, 4, 3, 2, 1], []]
    assert len(await jqs.get("/jobs")) == 10
    assert await jqs.get("/jobs?page=1000&limit=100") == []
    assert (await jqs.client.get("/jobs?page=1001")).status_code == 422
    assert (await jqs.client.get("/jobs?page=0")).status_code == 422


async def test_what_others_left_in_the_queue_is_not_shown(serve: Any) -> None:
    jqs = serve("jqs", working)
    await jqs.post("/api/v1/jobs", {"type": "jqs", "id": "by-hand"})
    await jqs.post("/api/v1/jobs", {"type": "jqs", "id": "7"})

    made = await jqs.post("/jobs", {})

    assert made["id"] == 8
    assert [row["id"] for row in await jqs.get("/jobs")] == [8, 7]
    assert (await jqs.client.get("/jobs/by-hand")).status_code == 404


@pytest.mark.contract("F15", "F20")
@pytest.mark.parametrize(
    ("body", "code"), [("[1]", 422), ('"text"', 422), ("{", 400), ("", 400), ('{"a": 1e999}', 422)]
)
async def test_what_is_no_object_is_refused(serve: Any, body: str, code: int) -> None:
    jqs = serve("jqs", working)

    answer = await jqs.client.post(
        "/jobs", content=body, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == code
    assert await jqs.get("/jobs") == []
