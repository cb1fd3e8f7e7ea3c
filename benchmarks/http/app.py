"""What is served and measured: handlers, a store that is filled, and a bare route of the same server."""

from __future__ import annotations

import os
import socket
import sys

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from treadle_web.serving import listen, serve_until_told
from treadle_web.web import Limits

from treadle import Jobs

jobs = Jobs(os.environ.get("QRUN_URL"))
TYPES = ("note.write", "note.send", "note.fail")
QUEUES = ("default", "mail", "reports")
_BATCH = 1_000
_FINISHED = 50
"""One job of so many is run, so that every state is there."""


@jobs.handler("note.write")
async def write(to: str, subject: str, order_id: int, lines: list[str], note: str) -> str:
    del to, subject, order_id, lines, note
    return "done"


@jobs.handler("note.send")
async def send(number: int) -> int:
    return number


@jobs.handler("note.fail", retry=0)
async def fail(number: int) -> None:
    raise ValueError(f"no place for {number % 7}")


async def _bare(request: Request) -> Response:
    """Do what cannot be left out: read the request, answer as much as the interface does."""
    await request.body()
    return Response(_ANSWER, 201, media_type="application/json")


_ANSWER = b'{"id":"01234567-89ab-7cde-8f01-23456789abcd","queue":"default","type":"note.write"}'


async def bare(port: int) -> None:
    """Serve one route of Starlette, by the server of `qrun web`."""
    app = Starlette(routes=[Route("/api/v1/jobs", _bare, methods=["POST"])])
    with listen("127.0.0.1", port) as listening:
        await serve_until_told(app, listening, Limits())


async def fill(count: int) -> None:
    """Store so many jobs; one of fifty succeeded or is dead, the others wait."""
    finished = count // _FINISHED
    async with jobs:
        for handler in (send, fail):
            for start in range(0, finished // 2, _BATCH):
                await handler.enqueue_many([{"number": start + n} for n in range(_BATCH)])
        await jobs.worker(concurrency=200, burst=True).run()
        for start in range(0, count - finished, _BATCH):
            queue = QUEUES[start // _BATCH % len(QUEUES)]
            rows = [{"number": start + n} for n in range(_BATCH)]
            await send.options(queue=queue).enqueue_many(rows)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


if __name__ == "__main__":
    roles = {"bare": bare, "fill": fill}
    anyio.run(roles[sys.argv[1]], int(sys.argv[2]), backend_options={"use_uvloop": True})
