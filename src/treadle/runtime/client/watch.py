"""Waiting for jobs to end, on one event loop: subscribe, get, and get again every few seconds.

Events are hints. One of those who wait reads the event log for all; when it leaves, it wakes
another one, which looks for itself and reads on from there. A lost event costs a few seconds,
never an answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from treadle.broker.base import Broker
from treadle.domain.job import Record, Ref
from treadle.domain.state import FINAL
from treadle.errors import BrokerUnavailable

LOOK_AGAIN_S: Final = 3.0
_WAIT_MS: Final = 2_000
_AWAY_S: Final = 0.5
_FINAL_NAMES: Final = frozenset({*(state.name.lower() for state in FINAL), ""})


class _Waiter:
    __slots__ = ("job_id", "woken")

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.woken = anyio.Event()


class Watch:
    """Everybody on one event loop who waits for a job to end."""

    def __init__(self, broker: Callable[[], Awaitable[Broker]]) -> None:
        self._broker = broker
        self._waiting: dict[str, list[_Waiter]] = {}
        self._cursor: str | None = None
        self._reading = False
        self._subscribing = anyio.Lock()

    async def final(self, ref: Ref) -> Record | None:
        """Wait until a job is final and return its record; None if there is no such job.

        Raises:
            BrokerUnavailable: if it cannot be reached now; later outages are waited out.
        """
        broker = await self._broker()
        (record,) = await broker.get([ref])
        if record is None or record.head.state in FINAL:
            return record
        waiter = _Waiter(ref.id)
        self._waiting.setdefault(ref.id, []).append(waiter)
        try:
            while record is not None and record.head.state not in FINAL:
                try:
                    record = await self._look(broker, ref, waiter)
                except BrokerUnavailable:  # it was there a moment ago: the job goes on without us
                    await anyio.sleep(_AWAY_S)
        finally:
            self._leave(waiter)
        return record

    async def _look(self, broker: Broker, ref: Ref, waiter: _Waiter) -> Record | None:
        """Subscribe, get, and wait for a hint if the job is not final; return what was seen."""
        await self._subscribe(broker)
        waiter.woken = anyio.Event()
        (record,) = await broker.get([ref])
        if record is not None and record.head.state not in FINAL:
            with anyio.move_on_after(LOOK_AGAIN_S):
                await self._hint(broker, waiter.woken)
        return record

    async def _subscribe(self, broker: Broker) -> None:
        async with self._subscribing:
            if self._cursor is None:
                self._cursor = (await broker.events(None)).cursor

    async def _hint(self, broker: Broker, woken: anyio.Event) -> None:
        """Return when something may have happened: read the log, or wait for who reads it."""
        if self._reading:
            await woken.wait()
            return
        self._reading = True
        try:
            while not woken.is_set():
                events = await broker.events(self._cursor, wait_ms=_WAIT_MS)
                self._cursor = events.cursor
                ended = [entry.id for entry in events.entries if entry.state in _FINAL_NAMES]
                for job_id in self._waiting if events.gap else ended:
                    self._wake(job_id)
        finally:
            self._reading = False

    def _wake(self, job_id: str) -> None:
        for waiter in self._waiting.get(job_id, ()):
            waiter.woken.set()

    def _leave(self, waiter: _Waiter) -> None:
        same = self._waiting[waiter.job_id]
        same.remove(waiter)
        if not same:
            del self._waiting[waiter.job_id]
        if not self._waiting:
            self._cursor = None
        elif not self._reading:
            self._wake(next(iter(self._waiting)))
