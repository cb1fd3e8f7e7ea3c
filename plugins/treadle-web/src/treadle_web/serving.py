"""Serving the interface from a process of its own: the socket, the signals, and the end."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import anyio
import uvicorn
from starlette.types import ASGIApp

from treadle.errors import ConfigurationError
from treadle_web.web import Limits

logger = logging.getLogger("treadle.web")

_BACKLOG: Final = 1_024
_CONNECTIONS: Final = 1_000
_GRACE_S: Final = 20


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


async def serve_until_told(app: ASGIApp, listening: socket.socket, limits: Limits) -> None:
    """Serve until SIGTERM or SIGINT; running requests get a while, a second signal ends them."""
    config = uvicorn.Config(
        app,
        http="h11",  # bounds what the headers of a request may take; the faster parser does not
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=limits.header_bytes,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = _Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_when_told, server)
        await server.serve(sockets=[listening])
        tasks.cancel_scope.cancel()
    logger.info("web_stopped")


async def _stop_when_told(server: uvicorn.Server) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            server.force_exit = server.should_exit
            server.should_exit = True
