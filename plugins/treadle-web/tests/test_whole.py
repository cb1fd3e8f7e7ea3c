"""An answer that is sent in one piece, and a path that is found without routes: the same as without."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Message
from treadle_web import access, create_app
from treadle_web.answering import AT_ONCE, tell
from treadle_web.operation import Reply
from treadle_web.patience import Patience, is_in_time
from treadle_web.protocol import Whole
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from treadle import Jobs

LONG_S = 3_600.0


class Sent(asyncio.Transport):
    """A transport that keeps what it is to send."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.pieces.append(bytes(data))

    def is_closing(self) -> bool:
        """Tell whether it was closed."""
        return self.is_closed

    def close(self) -> None:
        """Close it."""
        self.is_closed = True


def _sent(
    kind: type[RequestResponseCycle],
    answer: Reply,
    *,
    method: str = "POST",
    keep_alive: bool = True,
    more: tuple[bytes, bytes] | None = None,
    spoil: Callable[[Message], None] | None = None,
) -> Sent:
    """Let one kind of cycle send an answer; return what it sent."""

    async def main() -> Sent:
        sent = Sent()
        scope: Any = {"type": "http", "method": method, "http_version": "1.1", "headers": []}
        cycle: Any = kind(
            scope,
            sent,
            FlowControl(sent),
            logging.getLogger("uvicorn.error"),
            logging.getLogger("uvicorn.access"),
            False,
            [(b"date", b"Sun, 22 Nov 2026 17:00:58 GMT")],
            asyncio.Event(),
            False,
            keep_alive,
            lambda: None,
        )

        async def send(message: Message) -> None:
            if more is not None and "headers" in message:
                message["headers"] = [*message["headers"], more]
            if spoil is not None:
                spoil(message)
            await cycle.send(message)

        await tell(answer, send)
        assert cycle.response_complete
        return sent

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "how"),
    [
        (Reply(status=201, content=b"{}", headers={"Location": "/api/v1/jobs/a"}), {}),
        (Reply(status=404, content=b'{"a":1}', media_type="application/problem+json"), {}),
        (Reply(content=b"{}"), {"method": "HEAD"}),
        (Reply(content=b"{}"), {"keep_alive": False}),
        (Reply(status=413, content=b"{}", headers={"Connection": "close"}), {}),
        (Reply(status=204), {}),
        (Reply(status=202), {}),
        (Reply(content=b"{}"), {"more": (b"x-other", b"of some middleware")}),
    ],
)
def test_what_is_sent_in_one_piece_is_what_uvicorn_sends(
    answer: Reply, how: dict[str, Any]
) -> None:
    for _ in range(2):  # the second time its lines are known
        ours, theirs = _sent(Whole, answer, **how), _sent(RequestResponseCycle, answer, **how)

        assert b"".join(ours.pieces) == b"".join(theirs.pieces)
        assert ours.is_closed == theirs.is_closed


def test_an_ordinary_answer_is_one_piece() -> None:
    assert len(_sent(Whole, Reply(content=b"{}")).pieces) == 1


@pytest.mark.security(13)
@pytest.mark.parametrize("value", ["/a\r\nX-Evil: 1", "/a\nX-Evil: 1", "/a\x00"])
@pytest.mark.parametrize("name", ["Location", "Content-Security-Policy"])
def test_a_value_cannot_end_its_header(name: str, value: str) -> None:
    answer = Reply(content=b"{}", headers={name: value})

    for _ in range(2):  # nothing of it is remembered
        with pytest.raises(RuntimeError, match="Invalid HTTP header value"):
            _sent(Whole, answer)


def test_content_of_another_length_than_told_is_refused() -> None:
    def shorten(message: Message) -> None:
        if AT_ONCE not in message:
            message["body"] = message["body"][:-1]

    with pytest.raises(RuntimeError, match="shorter than Content-Length"):
        _sent(Whole, Reply(content=b"{}"), spoil=shorten)


def test_a_route_that_stands_before_ours_is_served(
    url: str, app_of: Callable[[str], Jobs], running: Any
) -> None:
    app = create_app(app_of(url), access=access(open=True))

    async def other(request: Any) -> PlainTextResponse:
        del request
        return PlainTextResponse("another one")

    app.router.routes.insert(0, Route("/api/v1/{what}", other))
    with running(app) as base, _client(base) as client:
        assert client.get("/api/v1/queues").text == "another one"
        assert client.get("/api/v1/handlers/").status_code in (307, 404)


@pytest.mark.parametrize("id", ["abc\n", "a b", ""])
def test_an_id_that_is_none_is_refused(served: Any, id: str) -> None:
    answer = served.post("/api/v1/jobs", {"type": "note.write", "payload": {"number": 1}, "id": id})

    assert answer.status_code == 422


def test_the_braces_of_a_route_are_no_path(served: Any) -> None:
    assert served.get("/api/v1/jobs/%7Bid%7D").status_code == 404


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_patience_ends_what_takes_too_long(backend: str) -> None:
    async def never(patience: Patience) -> None:
        del patience
        await anyio.sleep_forever()

    assert not anyio.run(is_in_time, 0.0, never, backend=backend)


def test_patience_that_was_lifted_has_no_end() -> None:
    async def work(patience: Patience) -> None:
        patience.lift()
        for _ in range(100):
            await asyncio.sleep(0)

    assert asyncio.run(is_in_time(0.0, work))


def test_patience_that_was_lifted_has_no_end_on_trio() -> None:
    async def work(patience: Patience) -> None:
        assert anyio.current_effective_deadline() < math.inf
        patience.lift()
        assert anyio.current_effective_deadline() == math.inf

    assert anyio.run(is_in_time, LONG_S, work, backend="trio")


def test_whoever_else_cancels_a_request_is_heard() -> None:
    async def main() -> bool:
        began = asyncio.Event()

        async def never(patience: Patience) -> None:
            del patience
            began.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(is_in_time(LONG_S, never))
        await began.wait()
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(main())


def test_whoever_else_cancels_a_request_is_heard_in_the_same_moment() -> None:
    async def main() -> bool:
        async def never(patience: Patience) -> None:
            del patience
            asyncio.get_running_loop().call_later(0.0, task.cancel)
            await asyncio.Event().wait()

        task = asyncio.create_task(is_in_time(0.0, never))
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(main())


def _client(base: str) -> Any:
    httpx: Any = pytest.importorskip("httpx")
    return httpx.Client(base_url=base, timeout=LONG_S, verify=False)
