"""Real servers for the tests: uvicorn on a free port of 127.0.0.1, in a thread of this process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvicorn
from starlette.types import ASGIApp
from treadle_web import access, create_app
from treadle_web.protocol import bounded
from treadle_web.web import DEFAULT_LIMITS, Limits

from treadle import Context, Jobs

PATIENCE_S = 120.0
httpx: Any = import_module("httpx")  # a tool of tests only: types are checked without it


def application(url: str) -> Jobs:
    """Return jobs with handlers that succeed, fail, and log."""
    jobs = Jobs(url)

    @jobs.handler("note.write")
    async def write(number: int, text: str = "") -> int:
        return number

    @jobs.handler("note.fail", retry=0)
    async def fail(why: str) -> None:
        raise ValueError(why)

    @jobs.handler("note.log")
    async def log(ctx: Context, line: str) -> None:
        ctx.log(line)

    @jobs.cron("0 4 * * *", name="nightly")
    async def nightly() -> None:
        return None

    assert all(callable(one) for one in (write, fail, log, nightly))
    return jobs


class Served:
    """A server that runs, the jobs behind it, and a client of it."""

    def __init__(self, jobs: Jobs, url: str, client: Any) -> None:
        self.jobs = jobs
        self.url = url
        self.client = client

    def get(self, path: str, **given: Any) -> Any:
        """Ask for something."""
        return self.client.get(path, **given)

    def post(self, path: str, json: object = None, **given: Any) -> Any:
        """Send JSON; nothing if there is none."""
        body: dict[str, Any] = {} if json is None else {"json": json}
        return self.client.post(path, **body, **given)

    def create(self, kind: str = "note.write", **fields: object) -> dict[str, Any]:
        """Enqueue a job and return what was answered."""
        payload = {"number": 1} if kind == "note.write" else {}
        answer = self.post("/api/v1/jobs", {"type": kind, "payload": payload, **fields})
        assert answer.status_code == 201, answer.text
        created: dict[str, Any] = answer.json()
        return created

    def fail(self, why: str) -> str:
        """Let a job die and return its id."""
        id: str = self.create("note.fail", payload={"why": why})["id"]
        self.work()
        return id

    def work(self) -> None:
        """Run what is due."""
        anyio.run(self.jobs.worker(burst=True, concurrency=2).run)


@contextmanager
def serving(app: ASGIApp) -> Generator[str]:
    """Serve an application as long as the block runs; give its URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=bounded(Limits(head_s=PATIENCE_S)),  # a slow machine is not a slow caller
        ws="none",
        log_config=None,
        access_log=False,
        h11_max_incomplete_event_size=DEFAULT_LIMITS.header_bytes,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        listening.close()
        assert not thread.is_alive()


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the URL of a store of the test's own."""
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Give a way to serve jobs, with whatever `create_app` takes."""
    stack: list[Any] = []

    def start(jobs: Jobs, **given: Any) -> Served:
        settings: dict[str, Any] = {"access": access(open=True), **given}
        running = serving(create_app(jobs, **settings))
        url = running.__enter__()
        stack.append(running)
        # No certificates are loaded: nothing here speaks TLS.
        client = httpx.Client(base_url=url, timeout=PATIENCE_S, verify=False)
        stack.append(client)
        return Served(jobs, url, client)

    yield start
    for opened in reversed(stack):
        opened.__exit__(None, None, None)


@pytest.fixture
def served(url: str, serve: Callable[..., Served]) -> Served:
    """Give a server of the application above, on a store of its own."""
    return serve(application(url))


@pytest.fixture
def app_of() -> Callable[[str], Jobs]:
    """Give a way to make the application."""
    return application


@pytest.fixture
def running() -> Callable[[ASGIApp], Any]:
    """Give a way to serve any ASGI application."""
    return serving
