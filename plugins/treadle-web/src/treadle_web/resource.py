"""One path and the operations on it, as an ASGI application."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from treadle.errors import TreadleError
from treadle_web.answering import head_of, tell
from treadle_web.asked import Asked
from treadle_web.body import decode_body, decode_query, path_of, read_body
from treadle_web.operation import Ask, Operation, Principal, Reply, reply
from treadle_web.problems import MEDIA_TYPE, Refusal, is_ours_to_mend, refusal_of
from treadle_web.streaming import send_parts
from treadle_web.web import Web

logger = logging.getLogger("treadle.web")

WHO: Final = "treadle.who"
"""Where the scope of a request names who asks."""
REQUEST_ID: Final = "treadle.request_id"


class Resource:
    """Answers every method of a path."""

    def __init__(self, web: Web, operations: Mapping[str, Operation]) -> None:
        self._web = web
        self._operations = operations
        methods = {*operations, *(("HEAD",) if "GET" in operations else ())}
        self._allow = ", ".join(sorted(methods))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self.serve(Asked(scope, receive), send)

    async def serve(self, request: Asked, send: Send) -> None:
        """Serve one request that was read already."""
        try:
            answer = await self._answer(request)
        except Refusal as refusal:
            answer = refused(request, refusal)
        except TreadleError as error:
            answer = failed(request, error)
        except ClientDisconnect:
            return  # nobody listens
        if answer.parts is None:
            await tell(answer, send)
        else:
            await send_parts(answer.parts, request, answer.status, head_of(answer), send)

    async def _answer(self, request: Asked) -> Reply:
        operation = self._operations.get(request.method)
        if operation is None and request.method == "HEAD":
            operation = self._operations.get("GET")
        if operation is None:
            text = f"{request.method} is not served here"
            raise Refusal(405, "method_not_allowed", text, headers={"Allow": self._allow})
        who = admitted(request, operation)
        query = decode_query(request, operation.query)
        ask: Ask[Any, Any] = Ask(  # with its parameters it would take longer than all checks here
            web=self._web,
            request=request,
            who=who,
            path=path_of(request.path_params) if request.path_params else {},
            query=query,
            body=await self._body(request, operation),
        )
        return await operation.handler(ask)

    async def _body(self, request: Asked, operation: Operation) -> Any:
        if operation.body is None and request.method in ("GET", "HEAD"):
            return None
        data = await read_body(request, self._web.limits)
        if operation.body is None or (operation.body_optional and not data):
            return None
        return decode_body(request, data, operation.body, self._web.limits)


def admitted(request: Request, operation: Operation) -> Principal:
    """Return who asks, if it may ask this.

    Raises:
        Refusal: 401, 403.
    """
    who: Principal | None = request.scope.get(WHO)
    if operation.scope is None:
        return who or Principal("anybody", frozenset())
    if who is None:
        headers = {"WWW-Authenticate": 'Bearer realm="treadle"'}
        raise Refusal(401, "unauthorized", "a token is needed", headers=headers)
    if operation.scope not in who.scopes:
        text = f"this token has no scope {operation.scope.value!r}"
        raise Refusal(403, "forbidden", text)
    return who


def refused(request: Request, refusal: Refusal) -> Reply:
    """Answer with a problem."""
    answer = reply(refusal.problem(request.scope.get(REQUEST_ID, "")), refusal.status)
    answer.media_type = MEDIA_TYPE
    answer.headers = refusal.headers
    return answer


def failed(request: Request, error: TreadleError) -> Reply:
    """Answer with the problem that an error is; what is not the caller's fault is logged in full."""
    known = refusal_of(error)
    if is_ours_to_mend(known):
        logger.warning("request_failed", extra={**about(request), "error": str(error)})
    return refused(request, known)


def about(request: Request) -> dict[str, str]:
    """Return the fields that tell a request in the log."""
    return {
        "request_id": request.scope.get(REQUEST_ID, ""),
        "method": request.method,
        "path": request.url.path,
    }
