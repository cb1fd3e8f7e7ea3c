"""Serving the interface from a process of its own: the socket, the signals, and the end."""

from __future__ import annotations

import gc
import logging
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import anyio
import uvicorn
from starlette.types import ASGIApp

from treadle.errors import ConfigurationError
from treadle_web.protocol import bounded
from treadle_web.streaming import end_streams
from treadle_web.web import Limits

if TYPE_CHECKING:
    from treadle.runtime.worker import Worker

logger = logging.getLogger("treadle.web")

_BACKLOG: Final = 1_024
_GRACE_S: Final = 20
_MANY: Final = 10_000
"""So many new objects are worth a collection."""


class _Server(uvicorn.Server):
    """A server that leaves signals to who runs it, and ends without raising them again."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Change nothing."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Open the socket; port 0 takes a free one.

    Raises:
        ConfigurationError: if the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"cannot listen on {host} port {port}: {reason}") from error


async def serve_until_told(
    app: ASGIApp, listening: socket.socket, limits: Limits, worker: Worker | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; running requests get a while, a second signal ends them.

    A worker runs as long in the same process, and is drained by the same signals.
    """
    config = uvicorn.Config(
        app,
        http=bounded(limits),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=limits.header_bytes,  # `Bounded` reads it
        limit_concurrency=limits.connections,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = _Server(config)
    with _modules_left_alone():
        await _serve(server, app, listening, worker)
    logger.info("web_stopped")


@contextmanager
def _modules_left_alone() -> Generator[None]:
    """Let no collection look through what is loaded by now: that would hold up requests for 40 ms.

    Young objects are collected more seldom: few outlive their request.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_MANY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


async def _serve(
    server: uvicorn.Server, app: ASGIApp, listening: socket.socket, worker: Worker | None
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_when_told, server, app, worker)
        async with anyio.create_task_group() as work:
            if worker is not None:
                work.start_soon(worker.run)
            await server.serve(sockets=[listening])
            if worker is not None:
                worker.drain()
        tasks.cancel_scope.cancel()


async def _stop_when_told(server: uvicorn.Server, app: ASGIApp, worker: Worker | None) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            server.force_exit = server.should_exit
            server.should_exit = True
            if worker is not None:
                worker.drain(0 if server.force_exit else None)
            end_streams(app)
