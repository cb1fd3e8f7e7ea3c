"""How a waiting call hears that there is something for it.

Claims block on the marker lists of their queues (BLPOP). Whatever makes a job claimable leaves a
marker in its queue's list, if there is none. Who waits takes it, on a connection of its own, and
claims; who took all that it wanted and left more leaves a marker for the next. A marker is a hint:
one that is lost costs two seconds, since nobody waits longer.

Readers of events block on a stream of one entry, whose id is the number of the last event: what was
told between a look and the wait ends the wait at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from treadle_redis import keys, scripts
from treadle_redis.address import Address
from treadle_redis.link import Argument, Link
from treadle_redis.links import Links
from treadle_redis.trouble import NotNow

_LONGEST_S: Final = 2.0
_SHORTEST_S: Final = 0.002
_PAUSE_S: Final = 0.05


class Bell:
    """Lets the calls of one broker wait, on connections of their own."""

    def __init__(self, address: Address, links: Links) -> None:
        self._address = address
        self._links = links
        self._free: list[Link] = []

    async def wait(self, queues: Sequence[str], seconds: float) -> None:
        """Return when a marker was found or the time is over; it may be sooner than asked."""
        seconds = min(max(seconds, _SHORTEST_S), _LONGEST_S)
        if not queues:
            await asyncio.sleep(seconds)
            return
        try:
            await self._block(partial(self._pop, queues, seconds))
        except asyncio.CancelledError:
            if self._links.is_open:
                # What it may have heard is for others to act on.
                self._links.start(self._pass_on(queues))
            raise

    async def hear(self, last: int, seconds: float) -> None:
        """Return when there is an event behind the last one that was seen, or the time is over."""
        block_ms = int(min(max(seconds, _SHORTEST_S), _LONGEST_S) * 1_000)
        stream = keys.woken(self._address.namespace)
        read = ("XREAD", "BLOCK", block_ms, "STREAMS", stream, f"{last}-1")
        await self._block(lambda link: self._call(link, *read))

    async def close(self) -> None:
        """Close the connections."""
        if not self._links.is_inherited():
            for link in self._free:
                await link.close()
        self._free.clear()

    async def _pop(self, queues: Sequence[str], seconds: float, link: Link) -> None:
        mode = await link.is_clustered()
        names = [keys.markers(self._address.namespace, each, is_clustered=mode) for each in queues]
        await self._call(link, "BLPOP", *names, f"{seconds:.3f}")

    async def _call(self, link: Link, *command: Argument) -> None:
        await link.call(*command, timeout_s=_LONGEST_S + self._address.timeout_s)

    async def _block(self, call: Callable[[Link], Awaitable[None]]) -> None:
        link = self._free.pop() if self._free else Link(self._address)
        try:
            await call(link)
        except NotNow:
            await asyncio.sleep(_PAUSE_S)  # the look that follows tells what there is to tell
        except asyncio.CancelledError:
            await link.close()
            raise
        finally:
            self._free.append(link)

    async def _pass_on(self, queues: Sequence[str]) -> None:
        await self._links.exchange(scripts.RING, [*queues], again=True)
