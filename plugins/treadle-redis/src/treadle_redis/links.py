"""The connections of a broker: calls with effects run in tasks of their own, not in their callers'.

A caller that is cancelled leaves; what it asked for happens as a whole all the same, and no
reply of its call is taken for that of another one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar

from treadle.errors import BrokerUnavailable
from treadle_redis.address import Address
from treadle_redis.link import Argument, Link
from treadle_redis.scripts import Script
from treadle_redis.trouble import NotNow, NotReached, ReplyLost

_MOST: Final = 8
_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 0.25
T = TypeVar("T")


class Links:
    """Up to eight connections, opened as they are needed."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._free: list[Link] = []
        self._room = asyncio.Semaphore(_MOST)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._pid = os.getpid()
        self.is_open = False

    def open(self) -> None:
        """Let calls be made from now on, in this process."""
        self.is_open = True
        self._pid = os.getpid()

    async def run(self, script: Script, *arguments: Argument, again: bool = False) -> Any:
        """Run a script; `again` says that a second run does no harm."""
        given = list(arguments)
        link = self._begun(script, given)
        return await self.shielded(self.exchange(script, given, again=again, link=link))

    async def call(self, *command: Argument) -> Any:
        """Send a command that only reads, or that does no harm when it is sent twice."""
        return await self.shielded(self._command(command))

    async def exchange(
        self,
        script: Script,
        arguments: list[Argument],
        *,
        again: bool = False,
        link: Link | None = None,
    ) -> Any:
        """Run a script on a free connection, twice if the first try certainly had no effect.

        A server that was restarted closes idle connections, so one new try is always worth it.
        """
        async with self._room:
            link = link or self._take()
            try:
                return await self._tried(partial(link.run, script, arguments), again=again)
            finally:
                self._give_back(link)

    async def _tried(self, call: Callable[[], Awaitable[T]], *, again: bool) -> T:
        """Make a call, a second time if that may help, and as often as a cluster says "not now"."""
        until = asyncio.get_running_loop().time() + self._address.timeout_s
        pause, tries = 0.0, 1
        while True:
            try:
                return await call()
            except NotNow:
                if asyncio.get_running_loop().time() + pause > until:
                    raise
                await asyncio.sleep(pause)
                pause = min(max(2 * pause, _PAUSE_S), _LONGEST_PAUSE_S)
            except (NotReached, ReplyLost) as error:
                if tries > 1 or (isinstance(error, ReplyLost) and not again):
                    raise
                tries += 1

    async def shielded(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work to its end, also when the caller is cancelled meanwhile."""
        return await asyncio.shield(self._begin(work))

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin work that nobody waits for here."""
        self._begin(work)

    async def close(self) -> None:
        """Let what is under way end, then close all connections."""
        self.is_open = False
        if self.is_inherited():
            self._free.clear()  # the sockets are the parent's, and so is what would be said on them
            return
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2 * self._address.timeout_s)
        for link in self._free:
            await link.close()
        self._free.clear()

    def is_inherited(self) -> bool:
        """Tell whether this process was forked from the one that connected."""
        return self._pid != os.getpid()

    def _begun(self, script: Script, arguments: list[Argument]) -> Link | None:
        """Send a script at once where a connection is ready, and return that one."""
        if not self.is_open or self.is_inherited() or not self._free:
            return None
        link = self._free.pop()
        link.begin(script, arguments)
        return link

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        if not self.is_open:
            work.close()
            raise BrokerUnavailable(f"{self._address.shown} is not connected: call connect() first")
        if self.is_inherited():
            work.close()
            raise BrokerUnavailable(
                "this broker was opened before the process forked, and its connections are the"
                " parent's: make a new one in the child (broker.another())"
            )
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: its caller may be gone

    async def _command(self, command: tuple[Argument, ...]) -> Any:
        async with self._room:
            link = self._take()
            try:
                return await self._tried(partial(link.call, *command), again=True)
            finally:
                self._give_back(link)

    def _take(self) -> Link:
        return self._free.pop() if self._free else Link(self._address)

    def _give_back(self, link: Link) -> None:
        self._free.append(link)
