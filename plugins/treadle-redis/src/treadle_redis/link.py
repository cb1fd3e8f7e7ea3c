"""One connection to the server: one call at a time, and a clear word about what became of it.

redis-py opens the connection, packs and parses. Its retries are off: a script that it sends again
may have run already, and only the broker knows which ones that does not hurt.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from treadle_redis.address import Address
from treadle_redis.scripts import Script
from treadle_redis.trouble import lost, refused, unreachable

_IDLE_S: Final = 0.005
Argument = bytes | str | int | float


class Link:
    """A connection that opens when it is used, and again after it broke."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._used = 0.0
        made = SSLConnection if address.tls else Connection
        self._connection = made(
            **address.arguments(),
            socket_timeout=None,  # a deadline of ours stands around each call
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )

    async def run(self, script: Script, arguments: list[Argument]) -> Any:
        """Run a script; a server that does not know it gets its text.

        Raises:
            BrokerError: NotReached if it had no effect, ReplyLost if nobody knows.
        """
        key = f"{{{self._address.namespace}}}:n"
        call = ("EVALSHA", script.digest, 1, key, self._address.namespace, *arguments)
        try:
            return await self.call(*call)
        except NoScriptError:
            return await self.call("EVAL", script.text, *call[2:])

    async def call(self, *command: Argument, timeout_s: float | None = None) -> Any:
        """Send one command and return its reply.

        Raises:
            NoScriptError: if the server does not know a script.
            BrokerError: NotReached if it had no effect, ReplyLost if nobody knows.
        """
        address, connection = self._address, self._connection
        seconds = timeout_s or address.timeout_s
        await self._connect()
        try:
            async with asyncio.timeout(seconds):
                await connection.send_command(*command)
                reply = cast("Any", await connection.read_response())
                self._used = self._loop.time()
                return reply
        except NoScriptError:
            raise
        except (ResponseError, AuthenticationError, BusyLoadingError) as error:
            if isinstance(error, ReadOnlyError):
                await self.close()  # the next call may find the new primary
            raise refused(error, address.shown) from error
        except (RedisError, OSError) as error:
            await self.close()
            raise lost(error, address.shown, seconds) from error

    async def close(self) -> None:
        """Drop the connection; the next call opens another."""
        await self._connection.disconnect(nowait=True)

    async def _connect(self) -> None:
        connection = self._connection
        try:
            if connection.is_connected and self._loop.time() - self._used > _IDLE_S:
                for _ in range(2):  # what the server did meanwhile is heard of first
                    await asyncio.sleep(0)
            if connection.is_connected and await connection.can_read():
                await self.close()  # the server hung up, or somebody left a reply behind
            if not connection.is_connected:
                async with asyncio.timeout(self._address.timeout_s):
                    await connection.connect()  # type: ignore[no-untyped-call] # redis-py leaves it so
        except (RedisError, OSError) as error:
            await self.close()
            raise unreachable(error, self._address.shown) from error
