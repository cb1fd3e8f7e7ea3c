"""The ASGI application: a Starlette app that can be served by itself or mounted under any prefix."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from typing import Any, Final, cast

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from treadle.app import Jobs
from treadle.profile import Profile
from treadle_web.api import bulk, creating, cron, dead, events, groups, jobs, queues, system
from treadle_web.edge import Edge
from treadle_web.guard import DEFAULT_ACCESS, Access, Guard
from treadle_web.openapi import specification
from treadle_web.operation import JSON, Operation
from treadle_web.problems import Refusal
from treadle_web.profile import with_profile
from treadle_web.resource import Resource, refused
from treadle_web.web import DEFAULT_LIMITS, Limits, Web

OPERATIONS: Final[tuple[Operation, ...]] = (
    *creating.OPERATIONS,
    *bulk.OPERATIONS,
    *jobs.OPERATIONS,
    *groups.OPERATIONS,
    *dead.OPERATIONS,
    *queues.OPERATIONS,
    *events.OPERATIONS,
    *cron.OPERATIONS,
    *system.OPERATIONS,
)
"""Every operation; of two paths that both fit a request the first one serves it."""
SPECIFICATION: Final = "/api/v1/openapi.json"
_NOT_FOUND: Final = f"nothing is served here: {SPECIFICATION} tells what is"


def create_app(
    jobs: Jobs,
    *,
    access: Access = DEFAULT_ACCESS,
    limits: Limits = DEFAULT_LIMITS,
    typed: bool | None = None,
    profile: Profile | None = None,
) -> Starlette:
    """Make the HTTP interface of some jobs.

    It connects with the first request and disconnects at its own shutdown; mounted in an application, do that
    with `jobs.lifespan` there. `typed` says whether only types that `jobs` has a handler for are accepted;
    without it, that is so if there is any handler. `access` says who is let in: by default only requests
    to a loopback name, with a token. The endpoints of `profile` are served as well.
    """
    jobs.load_plugins()
    web = Web(jobs, limits=limits, typed=typed)
    app = Starlette(
        routes=_routes(web, with_profile(OPERATIONS, profile)),
        exception_handlers={HTTPException: _told},
        lifespan=_disconnecting(jobs),
    )
    app.add_middleware(Edge, guard=Guard(web, access), limits=limits, routes=app.routes)
    app.state.end_streams = web.feed.close
    jobs.plugins.extend_web(app)
    return app


def _routes(web: Web, operations: tuple[Operation, ...]) -> list[BaseRoute]:
    by_path: dict[str, dict[str, Operation]] = {}
    for one in operations:
        by_path.setdefault(one.path, {})[one.method] = one
    # A parameter fits every word, so the paths that name the word stand first.
    ordered = sorted(by_path, key=lambda path: [part.startswith("{") for part in path.split("/")])
    document = _document(operations)

    async def describe(request: Request) -> Response:
        base = str(request.scope.get("root_path", "")).rstrip("/") or "/"
        told = {**document, "servers": [{"url": base}]}
        return Response(msgspec.json.encode(told), media_type=JSON)

    routes: list[BaseRoute] = [Route(SPECIFICATION, describe)]
    return [*routes, *(Route(path, Resource(web, by_path[path])) for path in ordered)]


@cache
def _document(operations: tuple[Operation, ...]) -> dict[str, Any]:
    return specification(operations)


def _disconnecting(jobs: Jobs) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        del app
        try:
            yield
        finally:
            await jobs.close()

    return lifespan


async def _told(request: Request, error: Exception) -> Response:
    """Answer what Starlette itself refuses."""
    failed = cast("HTTPException", error)
    code = {404: "not_found", 405: "method_not_allowed"}.get(failed.status_code, "refused")
    headers = dict(failed.headers or {})
    detail = _NOT_FOUND if failed.status_code == 404 else failed.detail
    told = refused(request, Refusal(failed.status_code, code, detail, headers=headers))
    return Response(told.content, told.status, {**told.headers, "Content-Type": told.media_type})
