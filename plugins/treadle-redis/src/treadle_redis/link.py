"""One connection to the server: one call at a time, and a clear word about what became of it.

redis-py opens the connection, packs and parses. Its retries are off: a script that it sends again
may have run already, and only the broker knows which ones that does not hurt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import hiredis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    RedisError,
    ResponseError,
)

from treadle_redis import keys, scripts
from treadle_redis.address import Address
from treadle_redis.channel import Channel
from treadle_redis.dial import dial
from treadle_redis.line import Line
from treadle_redis.scripts import Script
from treadle_redis.trouble import NotReached, ReplyLost, lost, refused

_ANSWERS: Final = (ResponseError, AuthenticationError, BusyLoadingError)
"""Errors that are a reply: the connection is still in step."""
_SPREAD: Final = frozenset(
    script.name
    for script in (scripts.ENQUEUE, scripts.TURN, scripts.NOTE, scripts.CONTROL, scripts.OPEN)
)
"""What replicas must have where the URL asks for it: jobs, fences, sessions and what people set."""
Argument = bytes | str | int | float
_driver: Any = hiredis  # its stub knows commands of one word only
_packed: Callable[[tuple[Argument, ...]], bytes] = _driver.pack_command


class Link:
    """A connection that opens when it is used, and again after it broke."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._line: Line | None = None
        self._channel: Channel | None = None
        self._begun = False
        """What the next `run` is about was sent already."""
        self._is_clustered = False

    def begin(self, script: Script, arguments: Sequence[Argument]) -> None:
        """Send a script now, if the connection is surely good; the `run` that must follow reads the reply.

        What else waits for the event loop may take long: the server works meanwhile.
        """
        if self._line is not None and self._line.hears_nothing():
            commands = self._commands(script, arguments)
            self._line.send(b"".join(map(_packed, commands)))
            self._begun = True

    async def run(self, script: Script, arguments: list[Argument]) -> Any:
        """Run a script; a server that does not know it gets its text.

        Raises:
            BrokerError: NotReached if it had no effect, ReplyLost if nobody knows.
        """
        try:
            return await self._run(script, arguments)
        except NoScriptError:
            return await self._run(script, arguments, in_full=True)

    async def call(self, *command: Argument, timeout_s: float | None = None) -> Any:
        """Send one command and return its reply.

        Raises:
            NoScriptError: if the server does not know a script.
            BrokerError: NotReached if it had no effect, ReplyLost if nobody knows.
        """
        channel = await self._connected()
        seconds = timeout_s or self._address.timeout_s
        (reply,) = await self._exchange(channel, (command,), seconds, str(command[0]))
        return reply

    async def is_clustered(self) -> bool:
        """Connect, if that is needed, and tell whether it is to a node of a cluster.

        Raises:
            BrokerError: if there is no connection.
        """
        await self._connected()
        return self._is_clustered

    def _commands(
        self, script: Script, arguments: Sequence[Argument], *, in_full: bool = False
    ) -> list[tuple[Argument, ...]]:
        address, namespace = self._address, self._address.namespace
        own = script.clustered if self._is_clustered else script.alone
        begin: tuple[Argument, ...] = ("EVAL", own.text) if in_full else ("EVALSHA", own.digest)
        books = keys.books(namespace)
        if not address.replicas or script.name not in _SPREAD:
            return [(*begin, 1, books, namespace, *arguments)]
        wait = ("WAIT", address.replicas, int(address.timeout_s * 500))
        written = keys.written(namespace)
        if self._is_clustered:  # where no message goes to the replicas; see lua/cluster.lua
            return [(*begin, 2, books, written, namespace, *arguments), wait]
        # WAIT looks at what this connection wrote. "Stored already" wrote nothing, though the
        # replicas may not have it yet: the message counts as a write behind everything.
        return [(*begin, 1, books, namespace, *arguments), ("PUBLISH", written, ""), wait]

    async def _run(
        self, script: Script, arguments: Sequence[Argument], *, in_full: bool = False
    ) -> Any:
        address = self._address
        begun, self._begun = self._channel if self._begun else None, False
        channel = begun or await self._connected()  # before: who is reached decides what is sent
        commands = self._commands(script, arguments, in_full=in_full)
        reply, *rest = await self._exchange(
            channel, commands, address.timeout_s, script.name, is_sent=begun is not None
        )
        if rest and rest[-1] < address.replicas:
            raise ReplyLost(
                f"{address.shown}: {rest[-1]} of {address.replicas} replicas have confirmed it"
                f" within {address.timeout_s / 2:g} s"
            )
        return reply

    async def _exchange(
        self,
        channel: Channel,
        commands: Sequence[tuple[Argument, ...]],
        seconds: float,
        doing: str,
        *,
        is_sent: bool = False,
    ) -> list[Any]:
        """Send commands on one connection; the first error among the replies is raised."""
        address, replies = self._address, list[Any]()
        try:
            async with asyncio.timeout(seconds):
                if not is_sent:
                    await channel.send_packed_command(b"".join(map(_packed, commands)))
                for _ in commands:
                    try:
                        replies.append(await channel.read_response())
                    except _ANSWERS as error:
                        replies.append(error)
        except (RedisError, OSError) as error:
            await self.close()
            raise lost(error, address.shown, seconds) from error
        failure = next((reply for reply in replies if isinstance(reply, RedisError)), None)
        if failure is None:
            return replies
        if failure is not replies[0] and not isinstance(failure, NoPermissionError):
            # The script ran, and then the primary was none any more.
            await self.close()
            raise lost(failure, address.shown, seconds) from failure
        if isinstance(failure, NoScriptError):
            raise failure
        told = refused(failure, address.shown, doing)
        if isinstance(told, NotReached):
            await self.close()  # the next call may find the new primary
        raise told from failure

    async def close(self) -> None:
        """Drop the connection; the next call opens another."""
        channel, self._channel, self._line = self._channel, None, None
        if channel is not None:
            await channel.disconnect(nowait=True)

    async def _connected(self) -> Channel:
        channel = self._channel
        if channel is not None and self._line is not None and await self._line.is_good():
            return channel
        await self.close()
        reached = await dial(self._address)
        self._channel, self._is_clustered = reached.channel, reached.is_clustered
        self._line = Line(reached.channel, is_plain=not self._address.tls)
        return reached.channel
