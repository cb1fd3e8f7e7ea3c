"""The connection under the interface: what it keeps of what is never completed, and what it sends at once."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from treadle_web.protocol import Corked
from treadle_web.web import DEFAULT_LIMITS

LIMIT = DEFAULT_LIMITS.header_bytes
PATIENCE_S = 60.0
MOST_READ = 1 << 20
"""More than one read of the server may bring before it looks at its limit."""

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
CHUNKED = (
    b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def _connected(served: Any) -> socket.socket:
    address = urlsplit(str(served.url))
    return socket.create_connection((address.hostname, address.port), timeout=PATIENCE_S)


def _sent_until_refused(connection: socket.socket, piece: bytes) -> int:
    """Send pieces until the server does not take any more; return how many bytes it took."""
    sent = 0
    with suppress(OSError):
        while sent < 64 * MOST_READ:
            connection.sendall(piece)
            sent += len(piece)
    return sent


@pytest.mark.security(13)
@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"GET /livez HTTP/1.1\r\nX-Long: ", b"x" * 4_096),
        (b"GET /", b"x" * 4_096),
        (
            CHUNKED + b"2\r\n{}\r\n0\r\nX-Trailer: ",
            b"x" * 4_096,
        ),
    ],
    ids=["header", "path", "trailer"],
)
def test_who_completes_nothing_is_cut_off(served: Any, begin: bytes, piece: bytes) -> None:
    with _connected(served) as connection:
        connection.sendall(begin)

        sent = _sent_until_refused(connection, piece)

    assert sent < 32 * MOST_READ, "what the sockets hold, and little more"
    assert served.get("/livez").status_code == 200


@pytest.mark.security(13)
def test_a_head_that_is_cut_off_is_answered_with_431(served: Any) -> None:
    begin = b"GET /livez HTTP/1.1\r\nX-Long: "
    with _connected(served) as connection:
        # Exactly one byte too many: what it has not read would take the answer with it.
        connection.sendall(begin + b"x" * (LIMIT + 1 - len(begin)))

        assert connection.recv(4_096).startswith(b"HTTP/1.1 431 ")


@pytest.mark.security(13)
def test_many_small_headers_are_refused_like_a_long_one(served: Any) -> None:
    head = b"".join(b"X-%d: x\r\n" % number for number in range(LIMIT // 4))
    with _connected(served) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n")

        answer = connection.recv(4_096)

    assert answer.startswith(b"HTTP/1.1 431 ")


def test_a_body_of_many_small_pieces_is_taken(served: Any) -> None:
    body = b'{"type": "note.write", "payload": {"number": 1, "text": "' + b"x" * LIMIT + b'"}}'
    pieces = b"".join(b"1\r\n%c\r\n" % one for one in body)
    with _connected(served) as connection:
        connection.sendall(CHUNKED + pieces + b"0\r\n\r\n")

        answer = connection.recv(4_096)

    assert answer.startswith(b"HTTP/1.1 201 ")


def test_requests_in_one_piece_are_answered_one_after_the_other(served: Any) -> None:
    one = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /api/v1/nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    heard = b""
    with _connected(served) as connection:
        connection.sendall(one + one + last)
        while data := connection.recv(4_096):
            heard += data

    assert re.findall(rb"HTTP/1\.1 (\d+)", heard) == [b"200", b"200", b"404"]


class Sent(asyncio.Transport):
    """A transport that keeps what it is to send."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.pieces.append(bytes(data))


def test_the_head_of_an_answer_is_sent_with_what_follows() -> None:
    async def main() -> list[bytes]:
        sent = Sent()
        corked = Corked(sent, asyncio.get_running_loop())
        corked.write(HEAD)
        corked.write(b"body")
        return sent.pieces

    assert asyncio.run(main()) == [HEAD + b"body"]


def test_a_head_that_nothing_follows_is_sent_in_the_next_turn_of_the_loop() -> None:
    async def main() -> list[bytes]:
        sent = Sent()
        Corked(sent, asyncio.get_running_loop()).write(HEAD)
        await asyncio.sleep(0)
        return sent.pieces

    assert asyncio.run(main()) == [HEAD]
