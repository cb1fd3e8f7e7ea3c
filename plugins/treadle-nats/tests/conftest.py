"""A real server for the tests: started from the wheel on a free port, stopped by its process id."""

# A test may have a broker read as another process would.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from treadle_nats import NatsBroker
from treadle_nats.address import locate
from treadle_nats.engine import Engine
from treadle_nats.link import Link
from treadle_nats.streams import Standing, inspect

from treadle.broker.url import parse
from treadle.runtime.clock import SystemClock

BINARY = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or "nats-server"
STARTS_WITHIN_S = 120


PORTS = iter(random.Random(os.getpid()).sample(range(12_000, 32_000), 20_000))
"""In an order of this process: none that the system gives to who asks for any, now or later."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses, and that nobody is given by chance."""
    for port in PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


@pytest.fixture
def port() -> int:
    """Return a port that nobody uses now."""
    return free_port()


class Server:
    """One nats-server with JetStream, on files of its own."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.port = free_port()
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._file = folder / "server.conf"
        self.name = f"test-{self.port}"
        whole = {
            "listen": f"127.0.0.1:{self.port}",
            "server_name": self.name,
            "jetstream": {"store_dir": str(folder / "store")},
            **config,
        }
        self._file.write_text(json.dumps(whole))

    @property
    def url(self) -> str:
        """Return its URL, without a namespace."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(
            [BINARY, "-c", str(self._file), "-l", str(self.folder / "log")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < until and self._process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as talk:
                    if talk.recv(4_096).startswith(b"INFO"):
                        return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError((self.folder / "log").read_text())

    def stop(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Stop it; what it stored stays."""
        if self._process is not None:
            self._process.send_signal(sig)
            self._process.wait(STARTS_WITHIN_S)
            self._process = None

    def pause(self) -> None:
        """Have it answer nothing, with its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Have it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server that all tests share; each uses a namespace of its own."""
    one = Server(tmp_path_factory.mktemp("nats"))
    one.start()
    yield one
    one.stop()


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Give a function that starts servers for one test alone."""
    made: list[Server] = []

    def make(**config: Any) -> Server:
        folder = tmp_path / f"server-{len(made)}"
        folder.mkdir()
        one = Server(folder, **config)
        made.append(one)
        one.start()
        return one

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[Callable[[int], list[Server]]]:
    """Give a function that starts servers which replicate what they store."""
    made: list[Server] = []

    def make(count: int) -> list[Server]:
        ports = [free_port() for _ in range(count)]
        for port in ports:
            folder = tmp_path / f"node-{port}"
            folder.mkdir()
            routes = [f"nats://127.0.0.1:{other}" for other in ports]
            cluster = {"name": "test", "listen": f"127.0.0.1:{port}", "routes": routes}
            made.append(Server(folder, cluster=cluster))
        for one in made:
            one.start()
        return made

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def anyio_backend() -> str:
    """Run the tests of the plugin on asyncio; the kit runs on trio as well."""
    return "asyncio"


@pytest.fixture
def namespace() -> str:
    """Return a namespace that nobody else uses."""
    return f"test-{secrets.token_hex(6)}"


def make_broker(url: str) -> NatsBroker:
    """Make an unconnected broker."""
    return NatsBroker(parse(url), SystemClock())


@pytest.fixture
async def broker(server: Server, namespace: str) -> AsyncIterator[NatsBroker]:
    """Give a connected broker on a namespace of its own."""
    async with make_broker(f"{server.url}?namespace={namespace}") as one:
        yield one


@pytest.fixture
def beside() -> Iterator[Callable[[NatsBroker], NatsBroker]]:
    """Give a function that makes a broker on the same namespace as if in another process."""
    engines: list[Engine] = []

    def make(broker: NatsBroker) -> NatsBroker:
        other = broker.another()
        other._asker.engine()  # its loop
        other._asker._engine = engine = Engine(locate(broker.url))
        engines.append(engine)
        return other

    yield make
    for engine in engines:
        engine.stop()
        engine.join()


@pytest.fixture
def standing() -> Callable[[NatsBroker], Awaitable[Standing]]:
    """Give a function that asks the server how the log stands."""

    async def ask(broker: NatsBroker) -> Standing:
        link = Link(locate(broker.url), lambda: None)
        await link.connect()
        found = await inspect(link)
        await link.close()
        assert found is not None
        return found

    return ask
