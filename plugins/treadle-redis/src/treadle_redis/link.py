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
    NoScriptError,
    RedisError,
    ResponseError,
)

from treadle_redis import scripts
from treadle_redis.address import Address
from treadle_redis.dial import Channel, dial
from treadle_redis.line import Line
from treadle_redis.scripts import Script
from treadle_redis.trouble import NotReached, ReplyLost, lost, refused

_ANSWERS: Final = (ResponseError, AuthenticationError, BusyLoadingError)
"""Errors that are a reply: the connection is still in step."""
_SPREAD: Final = frozenset(
    script.digest
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

    def begin(self, script: Script, arguments: Sequence[Argument]) -> None:
        """Send a script now, if the connection is surely good; the `run` that must follow reads the reply.

        What else waits for the event loop may take long: the server works meanwhile.
        """
        if self._line is not None and self._line.hears_nothing():
            commands = self._commands("EVALSHA", script.digest, script, arguments)
            self._line.send(b"".join(map(_packed, commands)))
            self._begun = True

    async def run(self, script: Script, arguments: list[Argument]) -> Any:
        """Run a script; a server that does not know it gets its text.

        Raises:
            BrokerError: NotReached if it had no effect, ReplyLost if nobody knows.
        """
        try:
            commands = self._commands("EVALSHA", script.digest, script, arguments)
            return await self._run(commands, script.name)
        except NoScriptError:
            commands = self._commands("EVAL", script.text, script, arguments)
            return await self._run(commands, script.name)

    async def call(self, *command: Argument, timeout_s: float | None = None) -> Any:
        """Send one command and return its reply.

        Raises:
            NoScriptError: if the server does not know a script.
            BrokerError: NotReached if it had no effect, ReplyLost if nobody knows.
        """
        seconds = timeout_s or self._address.timeout_s
        (reply,) = await self._exchange((command,), seconds, str(command[0]))
        return reply

    def _commands(
        self, verb: str, text: str, script: Script, arguments: Sequence[Argument]
    ) -> list[tuple[Argument, ...]]:
        address = self._address
        own = f"{{{address.namespace}}}"
        command = (verb, text, 1, f"{own}:n", address.namespace, *arguments)
        if not address.replicas or script.digest not in _SPREAD:
            return [command]
        # WAIT looks at what this connection wrote. "Stored already" wrote nothing, though the
        # replicas may not have it yet: the message counts as a write behind everything.
        wait = ("WAIT", address.replicas, int(address.timeout_s * 500))
        return [command, ("PUBLISH", f"{own}:w", ""), wait]

    async def _run(self, commands: list[tuple[Argument, ...]], doing: str) -> Any:
        address = self._address
        reply, *rest = await self._exchange(commands, address.timeout_s, doing)
        if rest and rest[-1] < address.replicas:
            raise ReplyLost(
                f"{address.shown}: {rest[-1]} of {address.replicas} replicas have confirmed it"
                f" within {address.timeout_s / 2:g} s"
            )
        return reply

    async def _exchange(
        self, commands: Sequence[tuple[Argument, ...]], seconds: float, doing: str
    ) -> list[Any]:
        """Send commands on one connection; the first error among the replies is raised."""
        address, replies = self._address, list[Any]()
        failure: RedisError | None = None
        begun, self._begun = self._channel if self._begun else None, False
        channel = begun or await self._connected()
        try:
            async with asyncio.timeout(seconds):
                if begun is None:
                    await channel.send_packed_command(b"".join(map(_packed, commands)))
                for _ in commands:
                    try:
                        replies.append(await channel.read_response())
                    except _ANSWERS as error:
                        failure = failure or error
        except (RedisError, OSError) as error:
            await self.close()
            raise lost(error, address.shown, seconds) from error
        if failure is None:
            return replies
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
        self._channel = channel = await dial(self._address)
        self._line = Line(channel, is_plain=not self._address.tls)
        return channel
