"""One connection to the server: one call at a time, and a clear word about what became of it.

redis-py opens the connection, packs and parses. Its retries are off: a script that it sends again
may have run already, and only the broker knows which ones that does not hurt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoScriptError,
    RedisError,
    ResponseError,
)

from treadle_redis import scripts
from treadle_redis.address import Address
from treadle_redis.dial import Channel, dial
from treadle_redis.scripts import Script
from treadle_redis.trouble import NotReached, ReplyLost, lost, refused

_IDLE_S: Final = 0.005
_ANSWERS: Final = (ResponseError, AuthenticationError, BusyLoadingError)
"""Errors that are a reply: the connection is still in step."""
_SPREAD: Final = frozenset(
    script.digest
    for script in (scripts.ENQUEUE, scripts.TURN, scripts.NOTE, scripts.CONTROL, scripts.OPEN)
)
"""What replicas must have where the URL asks for it: jobs, fences, sessions and what people set."""
Argument = bytes | str | int | float


class Link:
    """A connection that opens when it is used, and again after it broke."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._used = 0.0
        self._channel: Channel | None = None

    async def run(self, script: Script, arguments: list[Argument]) -> Any:
        """Run a script; a server that does not know it gets its text.

        Raises:
            BrokerError: NotReached if it had no effect, ReplyLost if nobody knows.
        """
        address = self._address
        spreads = address.replicas > 0 and script.digest in _SPREAD
        end = (f"{{{address.namespace}}}:n", address.namespace, *arguments)
        try:
            return await self._run(spreads, ("EVALSHA", script.digest, 1, *end))
        except NoScriptError:
            return await self._run(spreads, ("EVAL", script.text, 1, *end))

    async def call(self, *command: Argument, timeout_s: float | None = None) -> Any:
        """Send one command and return its reply.

        Raises:
            NoScriptError: if the server does not know a script.
            BrokerError: NotReached if it had no effect, ReplyLost if nobody knows.
        """
        (reply,) = await self._exchange((command,), timeout_s or self._address.timeout_s)
        return reply

    async def _run(self, spreads: bool, command: Sequence[Argument]) -> Any:
        address, seconds = self._address, self._address.timeout_s
        if not spreads:
            return (await self._exchange((command,), seconds))[0]
        # WAIT looks at what this connection wrote. "Stored already" wrote nothing, though the
        # replicas may not have it yet: the message counts as a write behind everything.
        told = ("PUBLISH", f"{{{address.namespace}}}:w", "")
        wait = ("WAIT", address.replicas, int(seconds * 500))
        reply, _, confirmed = await self._exchange((command, told, wait), seconds)
        if confirmed < address.replicas:
            raise ReplyLost(
                f"{address.shown}: {confirmed} of {address.replicas} replicas have confirmed it"
                f" within {seconds / 2:g} s"
            )
        return reply

    async def _exchange(self, commands: Sequence[Sequence[Argument]], seconds: float) -> list[Any]:
        """Send commands on one connection; the first error among the replies is raised."""
        address, replies = self._address, list[Any]()
        failure: RedisError | None = None
        channel = await self._connected()
        try:
            async with asyncio.timeout(seconds):
                for command in commands:
                    await channel.send_command(*command)
                for _ in commands:
                    try:
                        replies.append(await channel.read_response())
                    except _ANSWERS as error:
                        failure = failure or error
                self._used = self._loop.time()
        except (RedisError, OSError) as error:
            await self.close()
            raise lost(error, address.shown, seconds) from error
        if failure is None:
            return replies
        if isinstance(failure, NoScriptError):
            raise failure
        told = refused(failure, address.shown)
        if isinstance(told, NotReached):
            await self.close()  # the next call may find the new primary
        raise told from failure

    async def close(self) -> None:
        """Drop the connection; the next call opens another."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.disconnect(nowait=True)

    async def _connected(self) -> Channel:
        channel = self._channel
        if channel is not None and channel.is_connected:
            if self._loop.time() - self._used > _IDLE_S:
                for _ in range(2):  # what the server did meanwhile is heard of first
                    await asyncio.sleep(0)
            if await self._is_good(channel):
                return channel
        await self.close()
        self._channel = channel = await dial(self._address)
        return channel

    @staticmethod
    async def _is_good(channel: Channel) -> bool:
        """Tell whether the server neither hung up nor left a reply behind."""
        try:
            return channel.is_connected and not await channel.can_read()
        except (RedisError, OSError):
            return False
