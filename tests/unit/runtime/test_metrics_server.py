"""The port where Prometheus asks: real requests on 127.0.0.1."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from treadle.errors import ConfigurationError
from treadle.runtime.metrics_server import HOST, MetricsServer

PATIENCE_S = 60.0


def _asked(port: int, request: str) -> tuple[str, str]:
    """Send a request; return the status line and the body."""
    with socket.create_connection((HOST, port), timeout=PATIENCE_S) as connection:
        connection.sendall(request.encode())
        heard = b""
        while data := connection.recv(4096):
            heard += data
    head, _, body = heard.decode().partition("\r\n\r\n")
    return head.splitlines()[0], body


@pytest.fixture
def port() -> Iterator[int]:
    """Give the port of a server that tells a number."""
    with MetricsServer(0, lambda: "number 1\n") as server:
        yield server.port


def test_the_text_is_served(port: int) -> None:
    request = f"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"

    assert _asked(port, request) == ("HTTP/1.1 200 OK", "number 1\n")


def test_it_listens_on_this_machine_only(port: int) -> None:
    with socket.create_connection((HOST, port)) as connection:
        assert connection.getpeername()[0] == "127.0.0.1"
    assert HOST == "127.0.0.1"


@pytest.mark.parametrize(
    ("request_line", "host", "status"),
    [
        ("GET /", "localhost", "404"),
        ("POST /metrics", "localhost", "405"),
        ("GET /metrics", "evil.example", "421"),
        ("nonsense", "localhost", "405"),
    ],
)
def test_anything_else_is_refused(port: int, request_line: str, host: str, status: str) -> None:
    told, _ = _asked(port, f"{request_line} HTTP/1.1\r\nHost: {host}\r\n\r\n")

    assert told.split()[1] == status


def test_who_hangs_up_or_says_too_much_does_not_keep_it_from_the_next(port: int) -> None:
    socket.create_connection((HOST, port)).close()
    with socket.create_connection((HOST, port), timeout=PATIENCE_S) as loud:
        loud.sendall(b"GET /metrics HTTP/1.1\r\n" + b"X: " + b"x" * 9_000)
        loud.recv(100)

    assert _asked(port, "GET /metrics HTTP/1.1\r\n\r\n")[1] == "number 1\n"


def test_a_text_that_fails_is_500_and_the_next_one_is_told() -> None:
    asked: list[None] = []

    def text() -> str:
        asked.append(None)
        if len(asked) == 1:
            raise ValueError("no")
        return "good\n"

    with MetricsServer(0, text) as server:
        first, _ = _asked(server.port, "GET /metrics HTTP/1.1\r\n\r\n")
        _, body = _asked(server.port, "GET /metrics HTTP/1.1\r\n\r\n")

    assert first.split()[1] == "500"
    assert body == "good\n"


def test_a_port_that_is_taken_is_an_error_that_names_it(port: int) -> None:
    with pytest.raises(ConfigurationError, match=f"port {port}.*metrics_port"):
        MetricsServer(port, str).__enter__()


def test_the_port_is_free_again_at_the_end() -> None:
    with MetricsServer(0, str) as server:
        port = server.port

    with MetricsServer(port, str) as again:
        assert again.port == port
