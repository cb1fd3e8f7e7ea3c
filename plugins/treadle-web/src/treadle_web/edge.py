"""What every request passes first: its id, its time, who asks, and headers that hold for all answers."""

from __future__ import annotations

import logging
import re
from typing import Final

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from treadle.errors import TreadleError
from treadle.runtime.ids import new_id
from treadle_web.asked import Asked
from treadle_web.guard import Guard
from treadle_web.operation import Reply
from treadle_web.place import place
from treadle_web.problems import Refusal
from treadle_web.resource import REQUEST_ID, WHO, about, failed, refused
from treadle_web.web import Limits

logger = logging.getLogger("treadle.web")

PATIENCE: Final = "treadle.patience"
"""Where the scope of a request holds its cancel scope: one that streams lifts the deadline."""
_GIVEN_ID: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class _Answer:
    """Sends an answer on, and adds the headers that all have."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.started = False
        self._send = send
        self._request_id = request_id

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            given = message.get("headers", ())
            names = {name for name, _ in given}
            message["headers"] = [
                *given,
                (b"x-request-id", self._request_id.encode("latin-1")),
                *(one for one in _HEADERS if one[0] not in names),
            ]
        await self._send(message)


class Edge:
    """Guards an application; nothing that goes wrong inside of it is told to the caller."""

    def __init__(self, app: ASGIApp, *, guard: Guard, limits: Limits) -> None:
        self._app = app
        self._guard = guard
        self._limits = limits

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
        given = request.headers.get("x-request-id", "")
        scope[REQUEST_ID] = given if _GIVEN_ID.fullmatch(given) else new_id()
        answer = _Answer(send, scope[REQUEST_ID])
        with anyio.move_on_after(self._limits.request_s) as patience:
            scope[PATIENCE] = patience
            await self._guarded(request, scope, receive, answer)
        if patience.cancelled_caught and not answer.started:
            text = "this took too long; what it asked for may have happened"
            late = Refusal(503, "timeout", text, headers={"Retry-After": "1"})
            await _refuse(request, late, receive, answer)

    async def _guarded(
        self, request: Request, scope: Scope, receive: Receive, answer: _Answer
    ) -> None:
        try:
            _check_headers(request, self._limits)
            scope[WHO] = await self._guard.admit(request, _inside(scope))
            await self._app(scope, receive, answer)
        except Refusal as refusal:
            await _refuse(request, refusal, receive, answer)
        except TreadleError as error:
            await _tell(request, failed(request, error), receive, answer)
        except Exception:
            logger.exception("request_crashed", extra=about(request))
            if answer.started:
                raise  # the server cuts the connection: half an answer is none
            text = "something went wrong here; the log of the server tells it under this request id"
            await _refuse(request, Refusal(500, "internal", text), receive, answer)


async def _refuse(request: Request, refusal: Refusal, receive: Receive, send: Send) -> None:
    await _tell(request, refused(request, refusal), receive, send)


async def _tell(request: Request, told: Reply, receive: Receive, send: Send) -> None:
    headers = {**told.headers, "Content-Type": told.media_type}
    await Response(told.content, told.status, headers)(request.scope, receive, send)


def _check_headers(request: Request, limits: Limits) -> None:
    size = sum(len(name) + len(value) for name, value in request.headers.raw)
    if size > limits.header_bytes:
        text = f"headers have at most {limits.header_bytes} bytes"
        raise Refusal(431, "headers_too_large", text, headers={"Connection": "close"})


def _inside(scope: Scope) -> str:
    """Return the path without the prefix under which the application is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
