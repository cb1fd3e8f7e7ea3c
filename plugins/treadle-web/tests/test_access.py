"""Who is let in: tokens and their scopes, host names, foreign origins, failed logins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import anyio
import pytest
from msgspec import structs
from treadle_web import access, create_app, tokens
from treadle_web.guard import refuse_bind
from treadle_web.operation import Scope

from treadle import ConfigurationError, Jobs

SECRET = "a-secret-of-more-than-32-characters"
JOB = {"type": "note.write", "payload": {"number": 1}}


def _token(url: str, *scopes: Scope) -> dict[str, str]:
    """Store a token and return the header that shows it."""

    async def make() -> str:
        async with Jobs(url).broker() as broker:
            return await tokens.create(broker, "ada", scopes)

    return {"Authorization": f"Bearer {anyio.run(make)}"}


@pytest.fixture
def locked(url: str, serve: Callable[..., Any], app_of: Callable[[str], Jobs]) -> Any:
    """Give a server that wants a token."""
    return serve(app_of(url), access=access(token=SECRET))


@pytest.mark.security(8, 14)
def test_without_a_token_nothing_but_health_is_told(locked: Any) -> None:
    for path in ("/api/v1/jobs", "/api/v1/openapi.json", "/metrics", "/nowhere"):
        answer = locked.get(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.security(8)
def test_the_token_of_the_environment_may_do_everything(locked: Any) -> None:
    mine = {"Authorization": f"Bearer {SECRET}"}

    made = locked.post("/api/v1/jobs", JOB, headers=mine)
    done = locked.post(f"/api/v1/jobs/{made.json()['id']}/cancel", headers=mine)

    assert (made.status_code, done.status_code) == (201, 200)


@pytest.mark.security(8)
@pytest.mark.contract("R12")
@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        ([Scope.READ], [200, 403, 403]),
        ([Scope.ENQUEUE], [403, 201, 403]),
        ([Scope.OPERATE], [403, 403, 200]),
        ([Scope.READ, Scope.ENQUEUE, Scope.OPERATE], [200, 201, 200]),
    ],
)
def test_a_token_allows_what_its_scopes_say(
    locked: Any, url: str, scopes: Sequence[Scope], allowed: list[int]
) -> None:
    locked.post("/api/v1/jobs", {**JOB, "id": "one"}, headers={"Authorization": f"Bearer {SECRET}"})
    mine = _token(url, *scopes)

    got = [
        locked.get("/api/v1/jobs", headers=mine).status_code,
        locked.post("/api/v1/jobs", JOB, headers=mine).status_code,
        locked.post("/api/v1/jobs/one/cancel", headers=mine).status_code,
    ]

    assert got == allowed


@pytest.mark.security(15)
def test_who_acted_is_in_the_history_of_the_job(locked: Any, url: str) -> None:
    mine = _token(url, *Scope)
    id = locked.post("/api/v1/jobs", JOB, headers=mine).json()["id"]

    locked.post(f"/api/v1/jobs/{id}/cancel", headers=mine)

    (row,) = locked.get(f"/api/v1/jobs/{id}/history", headers=mine).json()["items"]
    assert row["by"] == "http:ada"


@pytest.mark.security(8)
def test_only_the_hash_of_a_token_is_stored(url: str) -> None:
    shown = _token(url, Scope.READ)["Authorization"].removeprefix("Bearer ")

    async def read() -> bytes:
        async with Jobs(url).broker() as broker:
            return b"".join(one.data for one in await broker.documents(""))

    assert shown.rpartition("_")[2].encode() not in anyio.run(read)


@pytest.mark.security(8)
@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer wrong",
        f"Basic {SECRET}",
        SECRET,
        f"Bearer {SECRET}x",
        "Bearer trd_0123456789ab_" + "x" * 43,
    ],
)
def test_a_wrong_token_is_401(locked: Any, header: str) -> None:
    answer = locked.get("/api/v1/jobs", headers={"Authorization": header})

    assert answer.status_code == 401


@pytest.mark.security(8)
def test_a_token_in_the_url_is_not_heeded(locked: Any) -> None:
    assert locked.get(f"/api/v1/jobs?access_token={SECRET}").status_code == 401


@pytest.mark.security(13)
def test_failed_logins_are_limited_and_the_right_token_still_works(locked: Any) -> None:
    wrong = {"Authorization": "Bearer wrong"}

    codes = [locked.get("/api/v1/jobs", headers=wrong).status_code for _ in range(12)]
    right = locked.get("/api/v1/jobs", headers={"Authorization": f"Bearer {SECRET}"})

    assert codes == [401] * 10 + [429] * 2
    assert right.status_code == 200


def test_the_first_token_closes_a_server_that_was_open(url: str, serve: Any, app_of: Any) -> None:
    _token(url, Scope.READ)
    served = serve(app_of(url))

    assert served.get("/api/v1/jobs").status_code == 401


@pytest.mark.security(7, 8)
def test_a_server_stays_closed_when_its_last_token_is_revoked(
    url: str, serve: Any, app_of: Any
) -> None:
    served = serve(app_of(url), access=structs.replace(access(open=True), fresh_s=0))
    mine = _token(url, Scope.READ)
    before = served.get("/api/v1/jobs", headers=mine).status_code

    async def revoke() -> bool:
        async with Jobs(url).broker() as broker:
            (only,) = await tokens.listed(broker)
            return await tokens.revoke(broker, only.id)

    assert (before, anyio.run(revoke)) == (200, True)
    assert served.get("/api/v1/jobs").status_code == 401
    assert served.post("/api/v1/jobs", JOB).status_code == 401
    assert served.get("/api/v1/jobs", headers=mine).status_code == 401


@pytest.mark.security(10)
@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "["])
def test_a_foreign_host_name_is_refused_also_on_loopback(served: Any, host: str) -> None:
    answer = served.get("/api/v1/jobs", headers={"Host": host})

    assert (answer.status_code, answer.json()["code"]) == (421, "misdirected")
    assert "--allow-host" in answer.json()["detail"]


@pytest.mark.security(10)
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "[::1]:80", "jobs.example"])
def test_our_own_names_are_answered(url: str, serve: Any, app_of: Any, host: str) -> None:
    served = serve(app_of(url), access=access(hosts=("jobs.example",), open=True))

    assert served.get("/api/v1/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.security(9)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_site_changes_nothing(served: Any, headers: dict[str, str]) -> None:
    answer = served.post("/api/v1/jobs", JOB, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")
    assert served.get("/api/v1/jobs").json()["items"] == []


@pytest.mark.security(9)
def test_our_own_page_may_change_something_and_no_cors_header_is_ever_sent(served: Any) -> None:
    own = {"Origin": served.url, "Sec-Fetch-Site": "same-origin"}

    answer = served.post("/api/v1/jobs", JOB, headers=own)
    asked = served.client.options("/api/v1/jobs", headers={"Origin": "https://evil.example"})

    assert answer.status_code == 201
    assert not [name for name in (*answer.headers, *asked.headers) if "access-control" in name]


def test_a_websocket_is_closed_before_anything_else(
    url: str, app_of: Callable[[str], Jobs]
) -> None:
    app = create_app(app_of(url), access=access(open=True))
    sent: list[Any] = []

    async def call() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope: dict[str, Any] = {
            "type": "websocket",
            "path": "/api/v1/jobs",
            "headers": [],
            "query_string": b"",
        }
        await app(scope, receive, send)

    anyio.run(call)

    assert [message["type"] for message in sent] == ["websocket.close"]


def test_answers_are_not_sniffed_cached_or_framed(served: Any) -> None:
    headers = served.get("/api/v1/jobs").headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


@pytest.mark.security(7)
@pytest.mark.parametrize("token", ["short", "x" * 31, "a" * 64])
def test_a_weak_token_is_refused(token: str) -> None:
    with pytest.raises(ConfigurationError, match="too weak"):
        access(token=token)


@pytest.mark.security(7)
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "jobs.example"])  # noqa: S104
def test_another_address_than_loopback_needs_a_token(host: str) -> None:
    with pytest.raises(ConfigurationError, match="needs a token"):
        refuse_bind(host, has_token=False)

    refuse_bind(host, has_token=True)


@pytest.mark.security(7)
@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    refuse_bind(host, has_token=False)
