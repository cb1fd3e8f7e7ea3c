"""Serves the counts of a worker to Prometheus: one small thread, on this machine only.

It is no part of the event loop, so a scrape never waits for a handler and no handler for a scrape. It answers
one request at a time; who is slow to ask is hung up on.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

from treadle.errors import ConfigurationError

logger = logging.getLogger("treadle.worker")

HOST: Final = "127.0.0.1"
PATH: Final = "/metrics"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_NAMES: Final = frozenset({"127.0.0.1", "localhost", ""})
"""A name of somebody else that leads here is how a page in a browser would read this."""
_REQUEST_BYTES: Final = 8 * 1024
_PATIENCE_S: Final = 5.0
_END_S: Final = 1.0


class MetricsServer:
    """Answers `GET /metrics` with what `text` returns, from `with` to its end."""

    def __init__(self, port: int, text: Callable[[], str]) -> None:
        self.port = port
        """Port 0 takes a free one, which stands here once it is open."""
        self._text = text
        self._listening: socket.socket | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Open the port.

        Raises:
            ConfigurationError: if it cannot be used.
        """
        try:
            listening = socket.create_server((HOST, self.port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigurationError(
                f"cannot serve metrics on {HOST} port {self.port}: {reason} (--metrics-port, "
                "`worker.metrics_port`)"
            ) from error
        self.port = listening.getsockname()[1]
        self._listening = listening
        self._thread = threading.Thread(
            target=self._run, args=(listening,), name="treadle-metrics", daemon=True
        )
        self._thread.start()
        logger.info("metrics_served", extra={"url": f"http://{HOST}:{self.port}{PATH}"})
        return self

    def __exit__(self, *_: object) -> None:
        """Close the port."""
        self._ended.set()
        listening, self._listening = self._listening, None
        if listening is not None:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)  # wakes the thread
            listening.close()
        if self._thread is not None:
            self._thread.join(_END_S)

    def _run(self, listening: socket.socket) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:  # it is closed; or no files are left, and others may close some
                self._ended.wait(_END_S)
                continue
            with connection, suppress(OSError):
                connection.settimeout(_PATIENCE_S)
                connection.sendall(self._answer(_head_of(connection)))

    def _answer(self, head: bytes) -> bytes:
        lines = head.decode("latin-1").split("\r\n")
        method, _, rest = lines[0].partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method not in ("GET", "HEAD"):
            return _response("405 Method Not Allowed", "only GET is served here\n")
        if path != PATH:
            return _response("404 Not Found", f"ask for {PATH}\n")
        if _host_of(lines[1:]) not in _NAMES:
            return _response("421 Misdirected Request", f"ask for http://{HOST}{PATH}\n")
        try:
            text = self._text()
        except Exception:
            logger.exception("metrics_failed")
            return _response("500 Internal Server Error", "see the log of the worker\n")
        return _response("200 OK", text, CONTENT_TYPE, body=method == "GET")


def _head_of(connection: socket.socket) -> bytes:
    """Read up to the end of the headers; what is longer or slower than allowed is cut off."""
    until = time.monotonic() + _PATIENCE_S
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _REQUEST_BYTES and time.monotonic() < until:
        data = connection.recv(_REQUEST_BYTES)
        if not data:
            break
        head += data
    return head


def _host_of(lines: list[str]) -> str:
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() == "host":
            return value.strip().rpartition(":")[0] or value.strip()
    return ""


def _response(
    status: str, text: str, content_type: str = "text/plain; charset=utf-8", *, body: bool = True
) -> bytes:
    data = text.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(data)}\r\n"
        "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (data if body else b"")
