"""Requests that come at the same time share the transactions of the store."""

from __future__ import annotations

import socket
import sqlite3
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

REQUESTS = 64
PATIENCE_S = 60.0
BODY = b'{"type": "note.write", "payload": {"number": 1}}'
REQUEST = (
    b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


def test_jobs_that_are_enqueued_at_the_same_time_share_transactions(
    served: Any, tmp_path: Path
) -> None:
    served.create()  # it is connected
    address = urlsplit(str(served.url))
    with ExitStack() as stack:
        connections = [
            stack.enter_context(
                socket.create_connection((address.hostname, address.port), timeout=PATIENCE_S)
            )
            for _ in range(REQUESTS)
        ]
        for connection in connections:
            connection.sendall(REQUEST)
        answers = [connection.recv(4_096) for connection in connections]

    assert all(answer.startswith(b"HTTP/1.1 201 ") for answer in answers)
    with sqlite3.connect(tmp_path / "jobs.db") as database:
        (transactions,) = database.execute("SELECT count(*) FROM event").fetchone()
    assert transactions < REQUESTS
