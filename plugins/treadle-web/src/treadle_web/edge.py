"""What every request passes first: its id, its time, who asks, and headers that hold for all answers."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from operator import itemgetter
from typing import Final

from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from treadle.errors import TreadleError
from treadle.runtime.ids import new_id
from treadle_web.answering import tell
from treadle_web.asked import Asked
from treadle_web.guard import Guard
from treadle_web.patience import Patience, is_in_time
from treadle_web.place import place
from treadle_web.problems import Refusal
from treadle_web.resource import REQUEST_ID, WHO, Resource, about, failed, refused
from treadle_web.web import Limits

logger = logging.getLogger("treadle.web")

PATIENCE: Final = "treadle.patience"
"""Where the scope of a request holds its `Patience`: one that streams lifts the deadline."""
_GIVEN_ID: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_name = itemgetter(0)
_NAMES: Final = frozenset(map(_name, _HEADERS))


class _Answer:
    """Sends an answer on, and adds the headers that all have."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.started = False
        self._send = send
        self._request_id = request_id

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            given = list(message.get("headers", ()))
            ours: Sequence[tuple[bytes, bytes]] = _HEADERS
            if not _NAMES.isdisjoint(map(_name, given)):
                names = set(map(_name, given))
                ours = [one for one in _HEADERS if one[0] not in names]
            request_id = (b"x-request-id", self._request_id.encode("latin-1"))
            message["headers"] = [*given, request_id, *ours]
        await self._send(message)


class Edge:
    """Guards an application; nothing that goes wrong inside of it is told to the caller."""

    def __init__(
        self, app: ASGIApp, *, guard: Guard, limits: Limits, routes: Sequence[BaseRoute] = ()
    ) -> None:
        self._app = app
        self._guard = guard
        self._limits = limits
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, within its time."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # nobody was asked who they are: nothing of ours speaks it
            await send({"type": "websocket.close", "code": 1008})
            return
        scope = {**scope, **place(scope)}
        request = Asked(scope, receive)
        given = request.header(b"x-request-id")
        scope[REQUEST_ID] = given if given and _GIVEN_ID.fullmatch(given) else new_id()
        answer = _Answer(send, scope[REQUEST_ID])
        work = partial(self._guarded, request, scope, receive, answer)
        if not await is_in_time(self._limits.request_s, work) and not answer.started:
            text = "this took too long; what it asked for may have happened"
            late = Refusal(503, "timeout", text, headers={"Retry-After": "1"})
            await tell(refused(request, late), answer)

    @cached_property
    def _plain(self) -> Mapping[str, Resource]:
        """What routing would find for the paths without parameters, which need not be searched for."""
        found: dict[str, Resource] = {}
        before: list[Route] = []
        for route in self._routes:
            if not isinstance(route, Route):
                break  # it may take any path
            app = route.app
            if isinstance(app, Resource) and not (
                route.param_convertors or any(one.path_regex.match(route.path) for one in before)
            ):
                found[route.path] = app
            before.append(route)
        return found

    async def _guarded(
        self, request: Asked, scope: Scope, receive: Receive, answer: _Answer, patience: Patience
    ) -> None:
        scope[PATIENCE] = patience
        try:
            _check_headers(request, self._limits)
            path = _inside(scope)
            scope[WHO] = await self._guard.admit(request, path)
            resource = self._plain.get(path)
            if resource is None:
                await self._app(scope, receive, answer)
            else:
                await resource.serve(request, answer)
        except Refusal as refusal:
            await tell(refused(request, refusal), answer)
        except TreadleError as error:
            await tell(failed(request, error), answer)
        except Exception:
            logger.exception("request_crashed", extra=about(request))
            if answer.started:
                raise  # the server cuts the connection: half an answer is none
            text = "something went wrong here; the log of the server tells it under this request id"
            await tell(refused(request, Refusal(500, "internal", text)), answer)


def _check_headers(request: Request, limits: Limits) -> None:
    size = 0
    for name, value in request.scope["headers"]:
        size += len(name) + len(value)
    if size > limits.header_bytes:
        text = f"headers have at most {limits.header_bytes} bytes"
        raise Refusal(431, "headers_too_large", text, headers={"Connection": "close"})


def _inside(scope: Scope) -> str:
    """Return the path without the prefix under which the application is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
