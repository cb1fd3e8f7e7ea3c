"""The interface below a prefix of other applications: Starlette, FastAPI, Litestar and Django."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send
from treadle_web import access, create_app
from treadle_web.client import Client, JobEvent, New, NotFound

from treadle import Jobs


def _starlette(inner: Starlette, jobs: Jobs) -> ASGIApp:
    return Starlette(routes=[Mount("/ops/jobs", inner)], lifespan=jobs.lifespan)


def _fastapi(inner: Starlette, jobs: Jobs) -> ASGIApp:
    outer = import_module("fastapi").FastAPI(lifespan=jobs.lifespan)
    outer.mount("/ops/jobs", inner)
    app: ASGIApp = outer
    return app


def _litestar(inner: Starlette, jobs: Jobs) -> ASGIApp:
    litestar = import_module("litestar")
    mounted = litestar.asgi("/ops/jobs", is_mount=True, copy_scope=True)(inner)
    app: ASGIApp = litestar.Litestar([mounted], lifespan=[jobs.lifespan], openapi_config=None)
    return app


def _django(inner: Starlette, jobs: Jobs) -> ASGIApp:
    """Pass on what is below the prefix, as the page for users says."""
    del jobs  # it connects with the first request, and disconnects at the end
    conf = import_module("django.conf")
    if not conf.settings.configured:
        http, urls = import_module("django.http"), import_module("django.urls")

        def hello(_request: object) -> object:
            return http.HttpResponse("from Django")

        conf.settings.configure(
            ALLOWED_HOSTS=["127.0.0.1"], ROOT_URLCONF=(urls.path("hello", hello),)
        )
    django: ASGIApp = import_module("django.core.asgi").get_asgi_application()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await inner(scope, receive, send)
        elif scope["type"] == "http" and scope["path"].startswith("/ops/jobs/"):
            await inner({**scope, "root_path": "/ops/jobs"}, receive, send)
        else:
            await django(scope, receive, send)

    return application


MOUNTED = [_starlette, _fastapi, _litestar, _django]


def test_what_is_not_below_the_prefix_is_django_s_own(
    url: str, app_of: Callable[[str], Jobs], running: Any
) -> None:
    httpx: Any = import_module("httpx")
    jobs = app_of(url)
    outer = _django(create_app(jobs, access=access(open=True)), jobs)

    with running(outer) as base:
        assert httpx.get(f"{base}/hello").text == "from Django"


@pytest.mark.parametrize("mounted", MOUNTED)
def test_it_mounts_below_a_prefix(
    url: str,
    app_of: Callable[[str], Jobs],
    running: Any,
    mounted: Callable[[Starlette, Jobs], ASGIApp],
) -> None:
    httpx: Any = import_module("httpx")
    jobs = app_of(url)
    outer = mounted(create_app(jobs, access=access(open=True)), jobs)

    with running(outer) as base, httpx.Client(base_url=f"{base}/ops/jobs", timeout=30) as plain:
        body = {"type": "note.write", "payload": {"number": 1}, "id": "a/b"}
        made = plain.post("/api/v1/jobs", json=body)
        found = plain.get("/api/v1/jobs/a%2Fb")
        document = plain.get("/api/v1/openapi.json").json()
        health = plain.get("/health", headers={"Host": "10.0.0.1"})
        foreign = plain.get("/api/v1/jobs", headers={"Host": "evil.example"})
        nowhere = plain.get("/nowhere")

    assert (made.status_code, found.status_code, health.status_code) == (201, 200, 200)
    assert found.json()["id"] == "a/b"
    assert made.headers["Location"] == "/ops/jobs/api/v1/jobs/a%2Fb?queue=default"
    assert document["servers"] == [{"url": "/ops/jobs"}]
    assert (foreign.status_code, nowhere.status_code) == (421, 404)
    assert nowhere.headers["Content-Type"] == "application/problem+json"
    assert "/api/v1/openapi.json" in nowhere.json()["detail"]


@pytest.mark.parametrize("mounted", MOUNTED)
def test_events_are_streamed_below_a_prefix(
    url: str,
    app_of: Callable[[str], Jobs],
    running: Any,
    mounted: Callable[[Starlette, Jobs], ASGIApp],
) -> None:
    jobs = app_of(url)
    outer = mounted(create_app(jobs, access=access(open=True)), jobs)

    with running(outer) as base, Client(f"{base}/ops/jobs") as client:
        id = client.enqueue(New(type="note.write", payload={"number": 1})).id
        stream = client.events(since="0")
        first = next(stream)
        client.cancel(id)
        second = next(stream)
        with pytest.raises(NotFound):
            client.get("none")

    assert isinstance(first, JobEvent)
    assert isinstance(second, JobEvent)
    assert (first.event, second.event, second.id) == ("enqueue", "cancel", id)
