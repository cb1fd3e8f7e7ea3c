"""The thread that reads and writes the log of one namespace, for all brokers of this process.

It has an event loop of its own, so that a handler that blocks the loop of its worker delays nothing here,
and brokers on asyncio and trio are served alike. Connection and log are made when somebody
asks for something, and made anew when they were lost for good.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import deque
from threading import Thread
from typing import Any, Final

from treadle.broker.sqlite.transaction import Effects
from treadle.errors import BrokerError, BrokerRefused, BrokerUnavailable
from treadle_nats import leavings, snapshots
from treadle_nats.address import Address
from treadle_nats.bells import EVENTS, Bells
from treadle_nats.link import Link, ours
from treadle_nats.log import Cut, Erased, Log
from treadle_nats.outbox import Outbox
from treadle_nats.questions import Do, Look, Question, Say, deliver
from treadle_nats.streams import cut, ready

_log = logging.getLogger("treadle.nats")
_SPREAD_S: Final = 0.5
"""All processes find at once that the log is long; one shall cut it."""
_KEPT_IF_FULL: Final = 10
_TRIES: Final = 5
_GONE: Final = (
    "{0.shown}: a part of the log is gone, and no snapshot has it: were messages of {0.stream} purged or"
    " deleted? Restore the stream from a backup; or delete it and {0.shelf}, to begin with no jobs"
)
_CHECK_S: Final = 5.0
"""How often it is made sure that nothing was missed, and what time it is."""


class Engine:
    """Connection, log and outbox of one namespace, in one thread."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.bells = Bells()
        self.link: Link | None = None
        self.log: Log | None = None
        self._outbox: Outbox | None = None
        self._inbox: deque[Question[Any]] = deque()
        self._is_kicked = False
        self._waiting: list[Question[Any]] = []
        self._joining: asyncio.Task[None] | None = None
        self._looks: list[Look[Any]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._saving: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._work, name="treadle-nats", daemon=True)
        self._thread.start()

    def put(self, question: Question[Any]) -> None:
        """Ask something; from any thread."""
        self._inbox.append(question)
        if not self._is_kicked:
            self._is_kicked = True
            self._loop.call_soon_threadsafe(self._kick)

    def stop(self) -> None:
        """Have the thread end after what it was asked; from any thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def join(self) -> None:
        """Wait for the end of the thread."""
        self._thread.join(10)

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        check = self._loop.create_task(self._check())
        try:
            self._loop.run_forever()
            check.cancel()
            self._loop.run_until_complete(self._end())
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _end(self) -> None:
        self._kick()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            if self.log is not None and self.link is not None and self.address.leave:
                await leavings.put(self.link, self.log)
        finally:
            await self.leave(BrokerUnavailable("the broker was disconnected"))

    # -- what is asked

    def _kick(self) -> None:
        self._is_kicked = False
        while self._inbox:
            question = self._inbox.popleft()
            if question.dropped:
                continue
            if isinstance(question, Do):
                self._start(self._do(question))
            else:
                self._waiting.append(question)
        self._advance()

    def _advance(self) -> None:
        if not self._waiting:
            return
        log, outbox = self.log, self._outbox
        if log is None or outbox is None or log.broken is not None or self._is_over():
            if self._joining is None:
                self._joining = self._start(self._join())
            return
        asked, self._waiting = self._waiting, []
        says = [question for question in asked if isinstance(question, Say)]
        looks = [question for question in asked if isinstance(question, Look)]
        if says:
            outbox.say(says)
        self._answer(log, [look for look in looks if not look.fresh])
        fresh = [look for look in looks if look.fresh]
        if fresh:
            self._looks += fresh
            if len(self._looks) == len(fresh):
                self._start(self._look(log))

    async def _do(self, question: Do[Any]) -> None:
        try:
            question.answer(await question.work())
        except Exception as error:  # noqa: BLE001 - nobody may wait for ever
            question.fail(ours(error))
        deliver([question])

    async def _look(self, log: Log) -> None:
        """Answer those who look once all that stands now is in the tables."""
        await asyncio.sleep(0)
        looks, self._looks = self._looks, []
        try:
            await log.catch_up()
        except Exception as error:  # noqa: BLE001 - nobody may wait for ever
            for look in looks:
                look.fail(ours(error))
            deliver(looks)
            if isinstance(error, BrokerError):
                self._trouble(error)
            return
        self._answer(log, looks)

    def _answer(self, log: Log, looks: list[Look[Any]]) -> None:
        for look in looks:
            try:
                now = log.now() if look.now is None else look.now
                look.answer(look.work(log.replica.view(now)))
            except Exception as error:  # noqa: BLE001 - whoever asked gets it
                look.fail(error)
        deliver(looks)

    # -- the log

    async def joined(self) -> None:
        """Read the log as far as it goes; connect and create it if that was not done."""
        async with self._lock:
            if self.log is not None and self.log.broken is None and not self._is_over():
                return
            for left in reversed(range(_TRIES)):
                await self._leave(BrokerUnavailable("the connection was made anew"))
                try:
                    await self._enter()
                except Cut as error:  # somebody was quicker to cut than this reader to read
                    if not left:
                        raise Cut(_GONE.format(self.address)) from error
                else:
                    return
                finally:
                    if self._outbox is None:
                        await self._leave(BrokerUnavailable("the log could not be read"))

    def _is_over(self) -> bool:
        return self.link is None or self.link.is_over

    async def _enter(self) -> None:
        if self.link is None or self.link.is_over:
            self.link = await self._connected()
        standing = await ready(self.link)
        if standing.client_time != self.address.client_time:
            raise BrokerRefused(f"{self.address.shown}: time=... is not that of this namespace")
        begun = await leavings.taken(self.link, standing.life) if self.address.leave else None
        replica, manifest = begun or await snapshots.begin(self.link, standing.life)
        if manifest is not None and manifest.seq > standing.last:
            _log.warning("log_set_back", extra={"snapshot": manifest.seq, "last": standing.last})
            await cut(self.link, self.address.stream, manifest.seq + 1)
            standing = await ready(self.link)
        log = self.log = Log(self.link, standing, replica, replica.seq)
        log.snapshot = 0 if manifest is None else manifest.size
        log.on_effects = self._effects
        await log.begin(standing.last)
        self._outbox = Outbox(self.link, log, self._trouble, self._full)
        self.bells.ring(None)

    async def _connected(self) -> Link:
        link = Link(self.address, self._returned)
        try:
            await link.connect()
        except BaseException:
            await link.close()
            raise
        return link

    async def _join(self) -> None:
        try:
            await self.joined()
        except Exception as error:  # noqa: BLE001 - nobody may wait for ever
            asked, self._waiting = self._waiting, []
            for question in asked:
                question.fail(ours(error))
            deliver(asked)
        finally:
            self._joining = None
        self._advance()

    async def leave(self, error: BrokerError) -> None:
        """Let go of log and connection."""
        async with self._lock:
            await self._leave(error)
            if self.link is not None:
                await self.link.close()
                self.link = None

    async def _leave(self, error: BrokerError) -> None:
        outbox, log = self._outbox, self.log
        self._outbox = self.log = None
        if self._saving is not None:  # it reads the tables
            self._saving.cancel()
            await asyncio.wait({self._saving})
        if outbox is not None:
            await outbox.end(error)
        if log is not None:
            await log.end()

    def _trouble(self, error: BrokerError) -> None:
        """Begin anew if this log cannot be read on."""
        log = self.log
        if log is not None and isinstance(error, Erased | Cut) and log.broken is None:
            log.broken = error  # at once: who was told may ask again before it is let go
        if log is not None and log.broken is not None:
            self._start(self._forget(log, error))

    async def _forget(self, log: Log, error: BrokerError) -> None:
        async with self._lock:
            if self.log is log:
                await self._leave(error)
        self.bells.ring(None)

    def _effects(self, effects: Effects) -> None:
        if effects.everybody:
            self.bells.ring(None)
        elif effects.rung or effects.entries:
            self.bells.ring({*effects.rung, EVENTS} if effects.entries else effects.rung)
        log = self.log
        if log is not None and log.size > log.most_bytes:
            self._cut(log)

    def _full(self) -> None:
        """Cut the log as short as can be: something found no room."""
        if self.log is not None:
            self._cut(self.log, is_full=True)

    def _cut(self, log: Log, *, is_full: bool = False) -> None:
        if self._saving is None:
            self._saving = self._start(self._save(log, is_full=is_full))

    async def _save(self, log: Log, *, is_full: bool) -> None:
        try:
            await asyncio.sleep(random.uniform(0.0, _SPREAD_S))
            await log.catch_up()
            if self.link is not None and (is_full or log.size > log.most_bytes):
                kept = _KEPT_IF_FULL if is_full else log.margin
                await snapshots.save(self.link, log, secrets.token_hex(4), kept)
                await log.catch_up()
        except BrokerError as error:
            _log.warning("snapshot_failed", extra={"detail": str(error)})
            await asyncio.sleep(_CHECK_S)
        finally:
            self._saving = None

    # -- the connection

    def _returned(self) -> None:
        """Look what was missed while the connection was down."""
        if self.log is not None:
            self.log.is_suspect = True
        self._start(self._check_once())

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_S)
            await self._check_once()

    async def _check_once(self) -> None:
        log, link = self.log, self.link
        if log is None or link is None or not link.is_up:
            return
        try:
            await log.catch_up()
        except BrokerError as error:
            self._trouble(error)

    def _start(self, work: Any) -> asyncio.Task[Any]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
