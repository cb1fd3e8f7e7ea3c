"""The security list over HTTP: what no other file shows, on the server that `qrun web` runs."""

from __future__ import annotations

import ast
import inspect
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import anyio
import anyio.to_thread
import pytest
from treadle_web import Limits, access, create_app, tokens
from treadle_web.app import OPERATIONS
from treadle_web.operation import Scope
from treadle_web.serving import listen, serve_until_told

from treadle import Jobs

PATIENCE_S = 60.0
HEAD = b"GET /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\n"

Ask = Callable[[int], Any]


def _while_served(jobs: Jobs, limits: Limits, ask: Ask) -> Any:
    """Run the server of `qrun web` in this thread, and what asks it in another; then end it by SIGTERM."""
    listening = listen("127.0.0.1", 0)
    app = create_app(jobs, access=access(open=True), limits=limits)
    answers: list[Any] = []

    async def asking() -> None:
        try:
            port: int = listening.getsockname()[1]
            answers.append(await anyio.to_thread.run_sync(ask, port))
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    async def main() -> None:
        with anyio.fail_after(PATIENCE_S * 2):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(serve_until_told, app, listening, limits)
                await _answering(listening.getsockname()[1])
                tasks.start_soon(asking)

    with listening:
        anyio.run(main)
    return answers[0]


async def _answering(port: int) -> None:
    """Wait until the server answers: from then on it hears SIGTERM."""
    answer = await anyio.to_thread.run_sync(
        _said, port, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200"), answer


def _said(port: int, *parts: bytes) -> bytes:
    """Send bytes and return all that comes back until the server hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as opened:
        for part in parts:
            opened.sendall(part)
        return _rest(opened)


def _rest(opened: socket.socket) -> bytes:
    found = b""
    while data := opened.recv(65_536):
        found += data
    return found


@pytest.mark.security(13)
@pytest.mark.parametrize("begun", [b"G", b"\r\n", HEAD, HEAD + b"X-Slow: "])
def test_headers_that_never_end_are_given_up(
    url: str, app_of: Callable[[str], Jobs], begun: bytes
) -> None:
    said = _while_served(app_of(url), Limits(head_s=0.1), lambda port: _said(port, begun))

    assert said.startswith(b"HTTP/1.1 408 ")


@pytest.mark.security(13)
def test_headers_that_end_in_time_are_answered_on_a_connection_that_goes_on(
    url: str, app_of: Callable[[str], Jobs]
) -> None:
    last = HEAD + b"Connection: close\r\n\r\n"

    def ask(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as opened:
            opened.sendall(HEAD)
            opened.sendall(b"X-More: 1\r\n\r\n")
            first = opened.recv(65_536)
            opened.sendall(last)
            return first + _rest(opened)

    said = _while_served(app_of(url), Limits(head_s=30), ask)

    assert said.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.security(13)
def test_a_body_that_never_ends_is_given_up(url: str, app_of: Callable[[str], Jobs]) -> None:
    head = (
        b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100\r\n\r\n"
    )

    said = _while_served(
        app_of(url), Limits(body_s=0.1), lambda port: _said(port, head, b'{"type"')
    )

    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"body_timeout" in said


@pytest.mark.security(13)
def test_a_request_that_takes_too_long_is_given_up(url: str, app_of: Callable[[str], Jobs]) -> None:
    head = (
        b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\nContent-Length: 100\r\n\r\n"
    )
    limits = Limits(request_s=0.1, body_s=PATIENCE_S)

    said = _while_served(app_of(url), limits, lambda port: _said(port, head, b'{"type"'))

    assert said.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"timeout"' in said


@pytest.mark.security(13)
def test_who_comes_while_all_connections_are_taken_is_told_to_come_later(
    url: str, app_of: Callable[[str], Jobs]
) -> None:
    def ask(port: int) -> bytes:
        taken = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        try:
            for one in taken:  # all three are known to the server once each was answered
                one.settimeout(PATIENCE_S)
                one.sendall(HEAD + b"\r\n")
                one.recv(65_536)
            return _said(port, HEAD + b"Connection: close\r\n\r\n")
        finally:
            for one in taken:
                one.close()

    said = _while_served(app_of(url), Limits(connections=3), ask)

    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\n" in said
    assert b'"code":"too_many_connections"' in said


@pytest.mark.security(13)
def test_who_does_not_read_is_hung_up_on(url: str, app_of: Callable[[str], Jobs]) -> None:
    jobs = app_of(url)
    body = b'{"type": "note.write", "id": "large", "payload": {"number": 1, "text": "%s"}}'
    body %= b"x" * 200_000
    head = b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    one = b"GET /api/v1/jobs/large HTTP/1.1\r\nHost: localhost\r\n"

    def ask(port: int) -> bytes:
        said = _said(
            port, head, b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body), body
        )
        assert said.startswith(b"HTTP/1.1 201 "), said
        with ExitStack() as opened:
            for _ in range(2):
                address = ("127.0.0.1", port)
                stuck = opened.enter_context(socket.create_connection(address, PATIENCE_S))
                stuck.sendall((one + b"\r\n") * 200)  # more than all buffers on the way hold
                stuck.recv(1)
            until = time.monotonic() + PATIENCE_S
            while not said.startswith(b"HTTP/1.1 200 ") and time.monotonic() < until:
                said = _said(port, b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n")
        return said

    said = _while_served(jobs, Limits(connections=3, unread_s=0.1), ask)

    assert said.startswith(b"HTTP/1.1 200 ")


@pytest.mark.security(13)
def test_a_page_has_at_most_a_thousand_jobs(served: Any) -> None:
    assert served.get("/api/v1/jobs?limit=1000").status_code == 200
    for path in ("/api/v1/jobs?limit=1001", "/api/v1/logs?limit=1001", "/api/v1/dlq?limit=101"):
        answer = served.get(path)
        assert (answer.status_code, answer.json()["path"]) == (422, "$query.limit")


def test_streams_end_when_the_server_is_told_to_stop(
    url: str, app_of: Callable[[str], Jobs]
) -> None:
    opened: list[socket.socket] = []

    def ask(port: int) -> bytes:
        stream = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        opened.append(stream)
        stream.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return stream.recv(65_536)

    try:
        said = _while_served(app_of(url), Limits(stream_s=1_000), ask)
        assert said.startswith(b"HTTP/1.1 200 ")
        assert _rest(opened[0]).endswith(b"0\r\n\r\n")  # the answer was ended, not cut
    finally:
        for one in opened:
            one.close()


@pytest.mark.security(9)
def test_nothing_is_changed_by_get() -> None:
    by_get = [one.scope for one in OPERATIONS if one.method == "GET"]
    others = [one.scope for one in OPERATIONS if one.method != "GET"]

    assert set(by_get) <= {Scope.READ, None}
    assert set(others) <= {Scope.ENQUEUE, Scope.OPERATE}


@pytest.mark.security(9)
def test_only_the_header_authorization_lets_in(url: str, serve: Any, app_of: Any) -> None:
    secret = "a-secret-of-more-than-32-characters"
    served = serve(app_of(url), access=access(token=secret))

    for given in (
        {"headers": {"Cookie": f"token={secret}; Authorization=Bearer {secret}"}},
        {"headers": {"X-Api-Key": secret, "Proxy-Authorization": f"Bearer {secret}"}},
        {"params": {"token": secret}},
    ):
        assert served.get("/api/v1/jobs", **given).status_code == 401


@pytest.mark.security(8)
def test_tokens_are_compared_in_constant_time_only() -> None:
    source = inspect.getsource(tokens.holder)

    assert source.count("compare_digest(") == 2
    assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Eq)]
