"""Every curl line of `docs/how-to/profiles.md`, sent to a real server; the Postman collection too."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "profiles.md"
PROFILES = ("pool", "submit", "documents", "jqs", "streams")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
APP = """\
from treadle import Jobs
jobs = Jobs()

@jobs.handler("report.write")
async def write(month: int) -> None:
    if month > 12:
        raise ValueError("no such month")
"""


class Server(Protocol):
    """What the fixture `web` starts."""

    client: Any
    folder: Path

    def qrun(self, *words: str, **environment: str) -> str: ...


def lines_of(profile: str) -> list[str]:
    """Return the commands below the heading of a profile."""
    text = PAGE.read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {profile}\n(.*?)(?=^## )", text, re.DOTALL | re.MULTILINE)
    return re.findall(r"^\$ (.*)$", section, re.MULTILINE)


def send(server: Server, line: str, id: str) -> tuple[str, Any]:
    """Do what a curl line says; return the row that it names, and the answer."""
    words = shlex.split(line.replace("$ID", id), comments=False)
    row = words[words.index("#") + 1]
    method, headers, body, url = "", {}, None, ""
    given = iter(words[1 : words.index("#")])
    for word in given:
        match word:
            case "-s":
                continue
            case "-X":
                method = next(given)
            case "-H":
                name, _, value = next(given).partition(": ")
                headers[name] = value
            case "-d":
                body = next(given)
            case _:
                url = word.removeprefix("localhost:8080")
    asked = method or ("GET" if body is None else "POST")
    return row, server.client.request(asked, url, headers=headers, content=body)


def replayed(server: Server, profile: str) -> dict[str, Any]:
    """Follow a section of the page line by line; return the answer to each row."""
    found: dict[str, Any] = {}
    id = ""
    for line in lines_of(profile):
        if line.startswith("qrun worker"):
            server.qrun(*shlex.split(line)[1:], QRUN_PROFILE=profile)
        elif line.startswith("curl"):
            row, answer = send(server, line, id)
            assert answer.is_success, f"{line}: {answer.text}"
            found[row] = answer
            if answer.request.method == "POST":
                made = answer.json()
                id = str(made.get("job_id") or made["id"])
    return found


def check_pool(of: Mapping[str, Any]) -> None:
    made, one = of["E01"].json(), of["E03"].json()
    assert re.fullmatch(r"\d{14}-[0-9a-f]{6}", made["job_id"])
    assert made.keys() == {"job_id", "status", "message"}
    assert made["status"] == "PENDING"
    assert isinstance(made["message"], str)
    assert list(one) == [
        *("id", "type", "payload", "status"),
        *("retry_count", "max_retries", "created_at", "updated_at"),
    ]
    assert one["id"] == made["job_id"]
    assert (one["type"], one["payload"]) == ("email", "ada@example.com")
    assert one["status"] in ("PENDING", "PROCESSING", "DONE")
    assert (one["retry_count"], one["max_retries"]) == (0, 3)
    assert INSTANT.fullmatch(one["created_at"])
    assert [set(job) for job in of["E02"].json()] == [set(one)]
    stamp = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\]"
    added = rf"{stamp} \[ENQUEUE\] Job {one['id']} \(email\) .+"
    changed = rf"{stamp} \[UPDATE\] Job {one['id']} status: (PROCESSING|DONE)"
    log = of["E04"].json()
    assert re.fullmatch(added, log[0])
    assert all(re.fullmatch(changed, line) for line in log[1:])
    assert of["E05"].json() == {"status": "OK", "service": "go-job-queue"}


def check_submit(of: Mapping[str, Any]) -> None:
    made, one = of["E06"].json(), of["E07"].json()
    assert list(made) == ["job_id"]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made["job_id"])
    assert list(one) == ["id", "status", "created_at", "payload"]
    assert (one["id"], one["payload"]) == (made["job_id"], "hello")
    assert one["status"] in ("PENDING", "PROCESSING", "DONE")
    assert INSTANT.fullmatch(one["created_at"])


def check_documents(of: Mapping[str, Any]) -> None:
    made, one = of["E08"].json(), of["E09"].json()
    assert of["E08"].status_code == 201
    keys = ["id", "type", "payload", "status", "retryCount", "createdAt", "updatedAt"]
    assert list(made) == list(one) == keys
    assert re.fullmatch(r"[0-9a-f]{24}", made["id"])
    assert (made["status"], made["retryCount"]) == ("pending", 0)
    assert made["payload"] == one["payload"] == {"to": "ada@example.com"}
    assert INSTANT.fullmatch(made["createdAt"])
    assert [job["id"] for job in of["E10"].json()] == [made["id"]]


def check_jqs(of: Mapping[str, Any]) -> None:
    made, one = of["E11"].json(), of["E12"].json()
    keys = ["id", "payload", "status", "result", "created_at", "updated_at"]
    assert list(made) == list(one) == keys
    assert (made["id"], made["status"], made["result"]) == (1, "queued", None)
    assert made["payload"] == {"task": "send_email", "to": "ada@example.com"}
    assert one["status"] in ("queued", "processing", "completed")
    assert [row["id"] for row in of["E13"].json()] == [1]
    assert (of["E14"].text, of["E14"].headers["Content-Type"]) == ("OK", "text/plain")


def check_streams(of: Mapping[str, Any]) -> None:
    made, one = of["E15"].json(), of["E16"].json()
    assert (made["id"], made["queue"]) == (one["id"], "critical")
    assert (one["state"], one["priority"]) == ("queued", "high")
    assert (of["E17"].json()["queue"], of["E17"].json()["waiting"]) == ("critical", 1)
    assert [(dead["id"], dead["state"]) for dead in of["E18"].json()["items"]] == [
        (made["id"], "dead")
    ]
    assert of["E19"].json()["state"] == "queued"
    assert of["E20"].json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("profile", "check"),
    [
        pytest.param(
            "pool",
            check_pool,
            marks=pytest.mark.contract("E01", "E02", "E03", "E04", "E05"),
            id="pool",
        ),
        pytest.param("submit", check_submit, marks=pytest.mark.contract("E06", "E07"), id="submit"),
        pytest.param(
            "documents",
            check_documents,
            marks=pytest.mark.contract("E08", "E09", "E10"),
            id="documents",
        ),
        pytest.param(
            "jqs", check_jqs, marks=pytest.mark.contract("E11", "E12", "E13", "E14"), id="jqs"
        ),
        pytest.param(
            "streams",
            check_streams,
            marks=pytest.mark.contract("E15", "E16", "E17", "E18", "E19", "E20", "F31"),
            id="streams",
        ),
    ],
)
def test_the_curl_lines_of_the_page_are_answered_as_the_contract_says(
    web: Callable[..., Server],
    tmp_path: Path,
    profile: str,
    check: Callable[[Mapping[str, Any]], None],
) -> None:
    if profile == "streams":
        (tmp_path / "jobs.py").write_text(APP)
    server = web("--profile", profile)

    check(replayed(server, profile))


def test_the_page_has_one_curl_line_for_each_endpoint() -> None:
    found = [re.findall(r"# (E\d\d)$", line) for name in PROFILES for line in lines_of(name)]

    assert sorted(row for rows in found for row in rows) == [f"E{n:02}" for n in range(1, 21)]


def requests_of(collection: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each request of a Postman collection, and the script that looks at its answer."""
    for item in collection["item"]:
        (event,) = item["event"]
        assert event["listen"] == "test"
        yield item["request"], "\n".join(event["script"]["exec"])


@pytest.mark.contract("F35", "E08", "E09", "E10")
def test_the_postman_collection_runs_from_top_to_bottom(web: Callable[..., Server]) -> None:
    file = files("treadle_profiles") / "documents.postman_collection.json"
    collection = json.loads(file.read_text(encoding="utf-8"))
    known = {one["key"]: one["value"] for one in collection["variable"]}
    server = web("--profile", "documents")
    known["baseUrl"] = str(server.client.base_url).rstrip("/")

    def filled(text: str) -> str:
        return re.sub(r"\{\{(\w+)\}\}", lambda found: known[found[1]], text)

    assert collection["info"]["schema"].endswith("/v2.1.0/collection.json")
    for request, script in requests_of(collection):
        answer = server.client.request(
            request["method"],
            filled(request["url"]["raw"]),
            headers={one["key"]: one["value"] for one in request["header"]},
            content=filled(request["body"]["raw"]) if "body" in request else None,
        )
        (wanted,) = re.findall(r"to\.have\.status\((\d+)\)", script)
        assert answer.status_code == int(wanted), (request["url"]["raw"], answer.text)
        for name, field in re.findall(r'set\("(\w+)", pm\.response\.json\(\)\.(\w+)\)', script):
            known[name] = answer.json()[field]
    assert known["id"]


@pytest.mark.anyio
@pytest.mark.contract("F35")
@pytest.mark.parametrize("profile", PROFILES)
async def test_the_specification_has_the_endpoints_of_the_profile(serve: Any, profile: str) -> None:
    served = serve(profile)

    document = await served.get("/api/v1/openapi.json")

    import_module("openapi_spec_validator").validate(document)
    rows = [line for line in lines_of(profile) if line.startswith("curl")]
    paths = {re.findall(r"localhost:8080(/[^ ?']*)", line)[0] for line in rows}
    wanted = {re.sub(r"\$ID", "{id}", path).replace("critical", "{queue}") for path in paths}
    assert wanted <= document["paths"].keys()
