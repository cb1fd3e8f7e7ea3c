"""The log as this process reads it: message by message into the tables, none left out.

Copies of new messages come by themselves. One that does not follow on the last shows that some were
missed: those are asked for. Each message is one transaction. Whoever needs the tables as they are at this
moment asks the server how far the log goes, and waits until it was read so far.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from heapq import heappop, heappush
from typing import Final

from msgspec import Struct

from treadle.broker.sqlite.transaction import Effects
from treadle.errors import BrokerError, BrokerUnavailable, Uncertain
from treadle_nats.commands import Command, Enqueue
from treadle_nats.feed import Entry, Feed
from treadle_nats.link import Link
from treadle_nats.replica import Failed, Replica
from treadle_nats.streams import Standing, inspect, stored
from treadle_nats.wire import Garbage, unframe

_log = logging.getLogger("treadle.nats")
_HURRY_S: Final = 0.1
"""A message that is not heard for so long is asked for."""
_RESERVE: Final = 0.9
_FAR_TOO_LONG: Final = 8
_FAR_TOO_LONG_BYTES: Final = 64 * 1024 * 1024
"""A log that is so many times as long as it should be, and so long, takes no new jobs: nobody can cut it."""
_MARGIN: Final = 1_000
_AHEAD: Final = 10_000
"""So many messages are kept that came too early."""


def _unasked(_answers: Sequence[object]) -> None:
    """Nobody here waits for the answers."""


class Said(Struct, frozen=True):
    """What a message says, and who takes the answers."""

    commands: Sequence[Command] = ()
    now: int | None = None
    """The client's time; None = the server's counts."""
    answered: Callable[[Sequence[object]], None] = _unasked


Own = Callable[[str, int], Said | None]
"""Gives what a frame of one's own says, so that nobody need read it."""


class Cut(BrokerUnavailable):
    """What was to be read is no longer there: begin again with a snapshot."""


class Erased(BrokerUnavailable):
    """This life of the namespace is over."""


class Log:
    """The log of one life, and the tables that it makes."""

    def __init__(self, link: Link, standing: Standing, replica: Replica, applied: int) -> None:
        self.life = standing.life
        self.applied: int = applied
        """The number of the last message that is in the tables."""
        self.replica = replica
        self.size = standing.size
        """About how many bytes the stream has."""
        self._counted = standing.last
        """The last message that is counted in it."""
        self.first = standing.first
        """The number of the first message that is still there."""
        self.snapshot = 0
        """How many bytes the last snapshot has."""
        self.max_bytes = standing.max_bytes
        self.own: Own = lambda _writer, _frame: None
        self.on_effects: Callable[[Effects], object] = lambda _effects: None
        self.is_suspect = False
        """The server may have lost messages that were heard: it was restarted, perhaps after a power cut."""
        self._last_at = 0
        self.broken: BrokerError | None = None
        """Why nothing can be read any more."""
        self._link = link
        self._client_time = standing.client_time
        self._feed = Feed(link, link.address.stream)
        self._early: dict[int, Entry] = {}
        self._awaited: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0
        self._refilling = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._clock = (standing.now, self._loop.time())

    async def begin(self, last: int) -> None:
        """Read what there is, and follow what comes."""
        await self._feed.follow(self.life.live, self._heard)
        await self.reach(last)

    async def end(self) -> None:
        """Read no more."""
        if self.broken is None:
            self.broken = BrokerUnavailable("the broker was disconnected")
        self._release()
        await self._feed.stop()
        self.replica.close()

    def now(self) -> int:
        """Return the time of the server, as it should be by now."""
        at, then = self._clock
        return at + int((self._loop.time() - then) * 1_000)

    @property
    def most_bytes(self) -> int:
        """Return how long the log may grow before it is cut."""
        return max(self._link.address.log_bytes, self.snapshot)

    @property
    def no_room(self) -> str:
        """Return why no job should be stored now: what room is left is for those that are stored already."""
        if 0 < self.max_bytes * _RESERVE < self.size + self.snapshot:
            return "the stream is nearly full; the rest is for jobs that run"
        if self.size > max(_FAR_TOO_LONG * self.most_bytes, _FAR_TOO_LONG_BYTES):
            return (
                f"the log has {self.size} bytes and nobody cuts it: see `snapshot_failed` in the"
                " logs of the processes"
            )
        return ""

    @property
    def margin(self) -> int:
        """Return how many messages a cut leaves for readers that are behind: a quarter of the log at most."""
        return min(_MARGIN, self.messages(self._link.address.log_bytes // 4))

    def messages(self, size: int) -> int:
        """Return about how many messages of the log have so many bytes."""
        usual = self.size // max(self.applied - self.first + 1, 1)
        return size // max(usual, 1)

    async def catch_up(self) -> None:
        """Read as far as the log goes at this moment."""
        before = self.applied
        standing = await inspect(self._link)
        if standing is None or standing.life != self.life:
            raise Erased(f"{self._link.address.shown}: the namespace was erased")
        self._clock = (standing.now, self._loop.time())
        self.first, self.size, self._counted = standing.first, standing.size, standing.last
        if standing.last < before or (self.is_suspect and await self._was_replaced()):
            raise Erased(f"{self._link.address.shown}: the log was set back")
        self.is_suspect = False
        await self.reach(standing.last)

    async def _was_replaced(self) -> bool:
        """Tell whether the last message in the tables is another one on the server now."""
        if not self._last_at:
            return False
        found = await stored(self._link, self.applied)
        return found is not None and found.at != self._last_at

    async def reach(self, seq: int) -> None:
        """Wait until message `seq` is in the tables; ask for it if it does not come.

        Raises:
            BrokerError: if that cannot be.
        """
        until = self._loop.time() + self._link.address.timeout_ms / 1_000
        while self.applied < seq:
            if self.broken is not None:
                raise type(self.broken)(*self.broken.args)
            self._count += 1
            future: asyncio.Future[None] = self._loop.create_future()
            heappush(self._awaited, (seq, self._count, future))
            with suppress(TimeoutError):
                async with asyncio.timeout(_HURRY_S):
                    await future
            if self.applied < seq:
                before = self.applied
                await self.refill()
                if self.applied > before:
                    until = self._loop.time() + self._link.address.timeout_ms / 1_000
                elif self._loop.time() > until:
                    raise BrokerUnavailable(f"{self._link.address.shown}: the log cannot be read")

    async def refill(self) -> None:
        """Ask for what comes after the last message in the tables."""
        async with self._refilling:
            async for entry in self._feed.read(self.applied + 1, self.life.log):
                if self.broken is not None:
                    return
                if entry.seq > self.applied + 1:
                    raise Cut(f"{self._link.address.shown}: the log was cut before it was read")
                self._take(entry)
                await asyncio.sleep(0)

    def _heard(self, entry: Entry) -> None:
        if self.broken is not None or entry.seq <= self.applied:
            return
        if entry.seq > self.applied + 1:
            if len(self._early) < _AHEAD:
                self._early[entry.seq] = entry
            return
        self._take(entry)
        while self._early and (found := self._early.pop(self.applied + 1, None)) is not None:
            self._take(found)
        if self._early and min(self._early) <= self.applied:
            self._early = {seq: kept for seq, kept in self._early.items() if seq > self.applied}

    def _take(self, entry: Entry) -> None:
        """Put a message into the tables, if it is the next."""
        if entry.seq != self.applied + 1 or self.broken is not None:
            return
        try:
            self._run(entry)
        except Exception as error:  # noqa: BLE001 - a reader that is stuck must say so
            _log.exception("log_unreadable", extra={"seq": entry.seq, "detail": str(error)})
            self.broken = error if isinstance(error, BrokerError) else _unexpected(entry, error)
            self._release()
            return
        self.applied, self._last_at = entry.seq, entry.at
        if entry.seq > self._counted:
            self.size, self._counted = self.size + len(entry.data), entry.seq
        if entry.at > self.now():
            self._clock = (entry.at, self._loop.time())
        while self._awaited and self._awaited[0][0] <= self.applied:
            future = heappop(self._awaited)[2]
            if not future.done():
                future.set_result(None)

    def _run(self, entry: Entry) -> None:
        """Do what a message says; then answer who asked."""
        said = Said()
        try:
            with self.replica.message(entry.seq):
                try:
                    said = self._said(entry)
                except Garbage as error:  # none of ours: kept where it can be seen
                    _log.warning("foreign_message", extra={"seq": entry.seq, "detail": str(error)})
                    answers: list[object] = []
                    effects = self.replica.keep_foreign(entry.seq, entry.data, entry.at)
                else:
                    now = entry.at if said.now is None or not self._client_time else said.now
                    answers, effects = self.replica.run(said.commands, now)
        except Exception as error:
            said.answered([_unknown(command, error) for command in said.commands])
            raise
        said.answered(answers)
        self.on_effects(effects)

    def _said(self, entry: Entry) -> Said:
        """Read a message; one that is only a part says nothing yet.

        Raises:
            Garbage: if it is none of ours.
        """
        writer, frame, part, of = _parts(entry.id)
        data: bytes | None = entry.data
        if of > 1:
            data = self.replica.add_part(writer, frame, part, of, entry.data, entry.at)
        if data is None:
            return Said()
        own = self.own(writer, frame)
        if own is not None:
            return own
        read = unframe(data)
        return Said(read.commands, read.now)

    def _release(self) -> None:
        """Let nobody wait for what does not come."""
        for _, _, future in self._awaited:
            if not future.done():
                future.set_result(None)
        self._awaited.clear()


def message_id(writer: str, frame: int, part: int, of: int) -> str:
    """Name a message so that the server knows it again, and readers know what it is part of."""
    return f"{writer}.{frame}.{part}.{of}"


def _unknown(command: Command, error: Exception) -> Failed:
    """Answer a command that stands in the log, but could not be run here."""
    if isinstance(command, Enqueue):
        return Failed(Uncertain(str(error), ids=[job.id for job in command.jobs]))
    return Failed(BrokerUnavailable(str(error)))


def _unexpected(entry: Entry, error: Exception) -> BrokerUnavailable:
    return BrokerUnavailable(f"message {entry.seq} of the log cannot be run: {error!r}")


def _parts(name: str) -> tuple[str, int, int, int]:
    writer, _, rest = name.partition(".")
    numbers = rest.split(".")
    if len(numbers) != 3 or not all(n.isascii() and n.isdecimal() and len(n) < 16 for n in numbers):
        raise Garbage("no name")
    frame, part, of = map(int, numbers)
    return writer, frame, part, of
