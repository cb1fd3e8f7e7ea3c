"""What does not fit is refused with the status that says whose fault it is, and changes nothing."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from treadle_web import Limits

from treadle import Jobs

JSON = {"Content-Type": "application/json"}


@pytest.mark.contract("F20")
@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"type": "note.write",}', b'{"type": "\\ud800"}', b"nul"]
)
def test_bad_json_is_400(served: Any, body: bytes) -> None:
    answer = served.client.post("/api/v1/jobs", content=body, headers=JSON)

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_json")


@pytest.mark.contract("F20")
@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "$"),
        ({"type": 1}, "$.type"),
        ({"type": "a b"}, "$.type"),
        ({"type": "note.write", "payload": []}, "$.payload"),
        ({"type": "note.write", "payload": {"number": "x"}}, "$.payload.number"),
        ({"type": "note.write", "payload": {"number": 1}, "delay": -1}, "$.delay"),
        ({"type": "note.write", "payload": {"number": 1}, "priority": "top"}, "$.priority"),
        (
            {"type": "note.write", "payload": {"number": 1}, "run_at": "2026-01-01T00:00"},
            "$.run_at",
        ),
        ({"type": "note.write", "colour": "red"}, "$"),
        ({"type": "note.write", "payload": {"number": 1}, "meta": {"a": 1}}, "$.meta[...]"),
        ([], "$"),
    ],
)
def test_wrong_fields_are_422_with_their_path(served: Any, body: object, path: str) -> None:
    answer = served.post("/api/v1/jobs", body)

    assert (answer.status_code, answer.json()["path"]) == (422, path)
    assert served.get("/api/v1/jobs").json()["items"] == []


@pytest.mark.parametrize("field", ["id", "queue", "type"])
@pytest.mark.parametrize("is_typed", [True, False])
def test_a_line_break_at_the_end_makes_no_name(
    url: str, serve: Any, app_of: Any, field: str, is_typed: bool
) -> None:
    served = serve(app_of(url), typed=is_typed)
    body = {"type": "note.write", "payload": {"number": 1}, "id": "one", "queue": "mail"}

    answer = served.post(
        "/api/v1/jobs", {**body, field: f"{body[field]}\n"}
    )  # `$` alone lets it in

    assert answer.status_code == 422, answer.text
    assert served.get("/api/v1/jobs").json()["items"] == []


@pytest.mark.parametrize("is_typed", [True, False])
@pytest.mark.parametrize("options", [{}, {"priority": "high"}])
@pytest.mark.parametrize(
    ("text", "status"), [('"' + "x" * 300_000 + '"', 413), ("[" * 66 + "]" * 66, 422)]
)
def test_a_payload_that_is_too_large_or_too_deep_is_refused_of_any_type(
    url: str, serve: Any, is_typed: bool, options: dict[str, str], text: str, status: int
) -> None:
    jobs = Jobs(url)

    @jobs.handler("any.note")
    async def write(note: Any) -> None: ...

    served = serve(jobs, typed=is_typed)
    told = "".join(f', "{name}": "{value}"' for name, value in options.items())
    body = f'{{"type": "any.note", "payload": {{"note": {text}}}{told}}}'

    answer = served.client.post("/api/v1/jobs", content=body, headers=JSON)

    assert (callable(write), answer.status_code) == (True, status), answer.text
    assert served.get("/api/v1/jobs").json()["items"] == []


def test_an_unknown_type_is_refused_and_says_which_was_perhaps_meant(served: Any) -> None:
    answer = served.post("/api/v1/jobs", {"type": "note.wriet"})

    assert (answer.status_code, answer.json()["code"]) == (422, "QRUN-J001")
    assert "note.write" in answer.json()["detail"]


def test_deep_nesting_is_422(served: Any) -> None:
    body = b'{"type": "note.write", "payload": {"x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}}"

    answer = served.client.post("/api/v1/jobs", content=body, headers=JSON)

    assert answer.status_code == 422


def test_a_body_that_is_not_sent_as_json_is_415(served: Any) -> None:
    answer = served.client.post(
        "/api/v1/jobs", content=b"{}", headers={"Content-Type": "text/plain"}
    )

    assert answer.status_code == 415


@pytest.mark.security(13)
@pytest.mark.contract("F20")
def test_a_body_over_the_limit_is_413_also_without_a_length(served: Any) -> None:
    text = b'{"type": "note.write", "payload": {"text": "' + b"x" * 1_100_000 + b'"}}'

    told = served.client.post("/api/v1/jobs", content=text, headers=JSON)
    chunked = served.client.post(
        "/api/v1/jobs",
        content=(text[n : n + 65_536] for n in range(0, len(text), 65_536)),
        headers=JSON,
    )

    assert (told.status_code, chunked.status_code) == (413, 413)


def test_a_payload_over_the_limit_is_413(served: Any) -> None:
    text = "x" * 300_000

    answer = served.post(
        "/api/v1/jobs", {"type": "note.write", "payload": {"number": 1, "text": text}}
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "QRUN-B011")


@pytest.mark.security(13)
def test_headers_over_the_limit_are_refused(served: Any) -> None:
    answer = served.get("/health", headers={"X-Long": "x" * 17_000})

    assert (answer.status_code, answer.json()["code"]) == (431, "headers_too_large")


@pytest.mark.parametrize("key", ["", "two words", "x" * 256])
def test_an_idempotency_key_that_the_specification_does_not_hold_is_422(
    served: Any, key: str
) -> None:
    job = {"type": "note.write", "payload": {"number": 1}}

    answer = served.post("/api/v1/jobs", job, headers={"Idempotency-Key": key})

    assert (answer.status_code, answer.json()["path"]) == (422, "$header.Idempotency-Key")


def test_a_method_that_a_path_does_not_have_is_405_with_those_it_has(served: Any) -> None:
    answer = served.client.patch("/api/v1/jobs")

    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, HEAD, POST"


def test_a_path_that_is_not_there_is_404_with_a_problem(served: Any) -> None:
    answer = served.get("/api/v1/nothing")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.security(14)
@pytest.mark.contract("F20")
def test_a_store_that_is_down_is_503_and_tells_no_paths(tmp_path: Path, serve: Any) -> None:
    (tmp_path / "file").write_text("not a folder")
    served = serve(Jobs(f"sqlite:///{tmp_path}/file/jobs.db"))

    answers = [
        served.get("/api/v1/jobs"),
        served.get("/readyz"),
        served.post("/api/v1/jobs", {"type": "note.write", "payload": {}}),
    ]

    for answer in answers:
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert str(tmp_path) not in answer.text
    assert served.get("/livez").status_code == 200


@pytest.mark.security(13)
def test_a_body_that_does_not_arrive_is_given_up(url: str, serve: Any, app_of: Any) -> None:
    served = serve(app_of(url), limits=Limits(body_s=0.1))
    host, port = served.url.removeprefix("http://").split(":")
    head = "POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

    with socket.create_connection((host, int(port)), timeout=30) as slow:
        slow.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        answer = slow.recv(65_536)

    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.security(14)
def test_what_crashes_here_is_500_with_a_request_id_and_nothing_else(
    url: str, serve: Any, app_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = app_of(url)
    served = serve(jobs)

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret /etc/passwd")

    monkeypatch.setattr(jobs.client, "find", broken)
    answer = served.get("/api/v1/jobs")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.json()["request_id"]
    assert "secret" not in answer.text
