"""Answers without a known end: sent part by part until they end, or until nobody listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Send


class Parts(Protocol):
    """What an answer consists of."""

    async def next(self) -> bytes | None:
        """Wait for the next part; None: that was all."""
        ...

    def close(self) -> None:
        """Let go of everything; called once, whether all was sent or not."""
        ...


async def send_parts(
    parts: Parts, request: Request, status: int, headers: list[tuple[bytes, bytes]], send: Send
) -> None:
    """Send an answer until it ends, or whoever asked for it is gone."""
    start = {"type": "http.response.start", "status": status, "headers": headers}
    try:
        with anyio.CancelScope() as listened:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_until_gone, request.receive, listened)
                await _send(None if request.method == "HEAD" else parts, start, send)
                tasks.cancel_scope.cancel()
    finally:
        parts.close()


async def _send(parts: Parts | None, start: Message, send: Send) -> None:
    try:
        await send(start)
        while parts is not None and (part := await parts.next()) is not None:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    except OSError:
        return  # so some servers say that the other side is gone


async def _until_gone(receive: Receive, listened: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    listened.cancel()


def end_streams(app: ASGIApp) -> None:
    """End the streams of an application that `create_app` made: its server stops, and they never would."""
    if isinstance(app, Starlette):
        end: Callable[[], None] = getattr(app.state, "end_streams", _nothing)
        end()


def _nothing() -> None:
    return None
