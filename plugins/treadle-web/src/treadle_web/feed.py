"""The event log of the store, read once for all who listen.

Theory of operation. One of those who listen reads for all, a few times a second at most, and leaves what it
found in a ring; when it goes, another one reads on from there. So any number of listeners costs the store one
reader, nothing runs when nobody listens, and there is no task that outlives a request. Everybody has a
place in the ring. Who falls out of it, or whose cursor is older than the log, is told that there is a gap:
what was missed is gone, and the truth must be read again. Nothing is ever left out in silence.

A listener who comes back with a cursor reads by itself up to the place at which the ring stood when it came.
Cursors can only be compared for being equal; one that this server has not reached yet (another server was
ahead) is reached in the ring, and what stands before it is skipped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from msgspec import Struct

from treadle.broker.base import Broker, LogEvent
from treadle.errors import BrokerError

PAGE: Final = 500
_KEPT: Final = 40
_WAIT_MS: Final = 2_000
_PACE_S: Final = 0.2
_AFTER_GAP_S: Final = 1.0
"""Where jobs are faster than anybody reads, listeners are told so once in that time."""
_AWAY_S: Final = 1.0


class Chunk(Struct, kw_only=True):
    """Some entries of the log that were read together."""

    entries: tuple[LogEvent, ...] = ()
    cursor: str
    """Behind the last one of them."""
    gap: bool = False
    """Entries are missing before this cursor."""
    frames: tuple[bytes, ...] | None = None
    """The entries as they are sent, once somebody made them."""


class Feed:
    """What those who listen on one event loop share."""

    def __init__(
        self, broker: Callable[[], Awaitable[Broker]], *, most: int, pace_s: float = _PACE_S
    ) -> None:
        """Take at most `most` listeners; `pace_s` lie between two readings that found something."""
        self.broker = broker
        self._most = most
        self._pace_s = pace_s
        self._listeners: set[Listener] = set()
        self._ring: deque[Chunk] = deque(maxlen=_KEPT)
        self._end = 0
        self._cursor: str | None = None
        self._beginning = anyio.Lock()
        self._scope: anyio.CancelScope | None = None
        self._pause_until = 0.0
        self._news = anyio.Event()
        self.closed = False

    @property
    def full(self) -> bool:
        """Tell whether nobody more may listen."""
        return len(self._listeners) >= self._most

    def close(self) -> None:
        """End every stream: the server stops."""
        self.closed = True
        if self._scope is not None:
            self._scope.cancel()
        self._tell()

    async def listen(self, after: str | None) -> Listener:
        """Begin to listen, from now on or from a cursor; the listener must be closed.

        Raises:
            BrokerError: if the store cannot be read.
        """
        listener = Listener(self)
        self._listeners.add(listener)
        try:
            async with self._beginning:
                if self._cursor is None:
                    self._cursor = (await (await self.broker()).events(None)).cursor
            listener.begin(self._end, self._cursor, after)
        except BaseException:
            self.leave(listener)
            raise
        return listener

    def leave(self, listener: Listener) -> None:
        """Forget a listener; what only listeners need goes with the last one."""
        self._listeners.discard(listener)
        if not self._listeners:
            self._cursor = None
            self._ring.clear()
        self._tell()

    def at(self, place: int) -> tuple[Chunk, int] | None:
        """Return what stands at a place of the ring, and the place behind it; None at its end."""
        if place >= self._end:
            return None
        oldest = self._end - len(self._ring)
        if place < oldest:
            return Chunk(cursor=self._ring[-1].cursor, gap=True), self._end
        return self._ring[place - oldest], place + 1

    async def turn(self) -> None:
        """Read on, or wait for who reads; return when something may have changed."""
        if self._scope is not None:
            await self._news.wait()
            return
        with anyio.CancelScope() as scope:
            self._scope = scope
            try:
                await self._read()
            except BrokerError:  # the streams go on when it is back
                await anyio.sleep(_AWAY_S)
            finally:
                self._scope = None
                self._tell()

    async def _read(self) -> None:
        broker = await self.broker()
        await anyio.sleep(max(self._pause_until - anyio.current_time(), 0))
        found = await broker.events(self._cursor, limit=PAGE, wait_ms=_WAIT_MS)
        if found.gap:
            cursor = (await broker.events(None)).cursor
            self._leave_in_ring(Chunk(cursor=cursor, gap=True), _AFTER_GAP_S)
        elif found.entries:
            self._leave_in_ring(Chunk(entries=found.entries, cursor=found.cursor), self._pace_s)

    def _leave_in_ring(self, chunk: Chunk, pause_s: float) -> None:
        self._cursor = chunk.cursor
        self._ring.append(chunk)
        self._end += 1
        self._pause_until = anyio.current_time() + pause_s

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()


class Listener:
    """One who listens: a place in the ring, or a cursor before it."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._place = 0
        self._meet = ""
        self._after: str | None = None
        self._skip = ""
        self.cursor = ""
        """Behind what was returned last."""

    def begin(self, place: int, cursor: str, after: str | None) -> None:
        """Stand at a place of the ring, at which the log stood at `cursor`."""
        self._place, self._meet = place, cursor
        self.cursor = cursor if after is None else after
        self._after = None if after == cursor else after

    def close(self) -> None:
        """Listen no more."""
        self._feed.leave(self)

    async def next(self, wait_s: float) -> Chunk | None:
        """Wait for what comes next; None if nothing came in time, or the feed was closed.

        Raises:
            BrokerError: if the past cannot be read now; what is live is waited for.
        """
        with anyio.move_on_after(wait_s):
            while not self._feed.closed:
                chunk = await self._live() if self._after is None else await self.past()
                if chunk is not None:
                    self.cursor = chunk.cursor
                    return chunk
        return None

    async def past(self) -> Chunk | None:
        """Read on before the ring; None if there is nothing.

        Raises:
            ConfigurationError: if the cursor to begin from is none.
            BrokerError: if the store cannot be read.
        """
        after = self._after
        if after is None:
            return None
        found = await (await self._feed.broker()).events(after, limit=PAGE)
        if found.gap:
            self._after = None
            return Chunk(cursor=self._meet, gap=True)
        cursors = [entry.cursor for entry in found.entries]
        if self._meet in cursors:
            self._after = None
            entries = found.entries[: cursors.index(self._meet) + 1]
            return Chunk(entries=entries, cursor=self._meet)
        if not cursors:  # we are ahead of the ring
            self._after, self._skip = None, after
            return None
        self._after = found.cursor
        return Chunk(entries=found.entries, cursor=found.cursor)

    async def _live(self) -> Chunk | None:
        found = self._feed.at(self._place)
        if found is None:
            await self._feed.turn()
            return None
        chunk, self._place = found
        if not self._skip or chunk.gap:
            self._skip = ""
            return chunk
        cursors = [entry.cursor for entry in chunk.entries]
        if self._skip not in cursors:
            return None
        rest = chunk.entries[cursors.index(self._skip) + 1 :]
        self._skip = ""
        return Chunk(entries=rest, cursor=chunk.cursor) if rest else None
