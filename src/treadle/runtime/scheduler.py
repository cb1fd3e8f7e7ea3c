"""Fires what is due: inserts the job of each tick when its time has come, never ahead.

Any number of schedulers may work at once and none is elected: the id of a tick is the same for all of
them, so the first one stores the job and the others find it there. The entries are read again before
each tick, so that one that was paused or edited elsewhere fires as it stands now. Killed at any
instruction, a scheduler leaves nothing behind; the next one looks back as far as each schedule allows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

import anyio

from treadle.broker.base import Applied, Broker
from treadle.domain.job import Job
from treadle.domain.outcome import Refused
from treadle.domain.retry import Rng
from treadle.domain.timetable import PREFIX, Entry, Origin, decode, due_ticks, next_tick, tick_job
from treadle.errors import BrokerError, NotAccepted, TreadleError
from treadle.runtime.backoff import Backoff
from treadle.runtime.clock import BrokerClock
from treadle.runtime.declared import Declared
from treadle.runtime.options import BATCH
from treadle.runtime.schedules import Schedules

logger = logging.getLogger("treadle.scheduler")

READ_MS: Final = 5_000
"""After this time at the latest what was changed elsewhere is seen."""
_AGAIN_MS: Final = 1_000
"""After this time what was refused is tried again."""
_SOONEST_S: Final = 0.001


class Scheduler:
    """Fires the ticks of a timetable until it is cancelled; it waits for a broker that is away.

    Of the entries that were defined in code it fires those that `declared` has.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        declared: Mapping[str, Declared],
        clock: BrokerClock,
        rng: Rng,
        read_ms: int = READ_MS,
    ) -> None:
        self._broker = broker
        self._declared = declared
        self._clock = clock
        self._read_ms = read_ms
        self._backoff = Backoff(rng, "schedule")
        self._undeclared = dict(declared)
        self._done: dict[str, int] = {}
        """Up to which tick each entry was fired, as far as this scheduler knows."""
        self._known: dict[str, tuple[int, Entry | None]] = {}
        """Each document as it was read last: its version, and the entry."""

    async def run(self) -> None:
        """Fire until cancelled."""
        while True:
            try:
                if self._undeclared:
                    await self._declare()
                seconds = await self.fire()
                self._backoff.worked()
            except BrokerError as error:
                await self._backoff.failed(error)
            else:
                await anyio.sleep(seconds)

    async def fire(self) -> float:
        """Fire what is due; return in how many seconds to look again.

        Raises:
            BrokerError: if the broker is away; what is stored already is not stored again.
        """
        self._clock.sync((await self._broker.stats()).now)
        entries = await self._entries()
        now = self._clock.now_ms()
        # A clock that was set back: what is fired again has the same ids, and is not stored twice.
        self._done = {name: min(done, now) for name, done in self._done.items()}
        refused = False
        for entry in entries:
            ticks = due_ticks(entry, self._done.get(entry.name, 0), now)
            for start in range(0, len(ticks), BATCH):
                refused = await self._insert(entry, ticks[start : start + BATCH]) or refused
                if refused:
                    break
        return self._wait(entries, now, refused=refused)

    def _wait(self, entries: Sequence[Entry], looked: int, *, refused: bool) -> float:
        """Return in how many seconds something may be due that was not when it was looked."""
        soonest = looked + (_AGAIN_MS if refused else self._read_ms)
        for entry in entries:
            tick = next_tick(entry, looked)
            if tick is not None:
                soonest = min(soonest, tick)
        return max((soonest - self._clock.now_ms()) / 1000, _SOONEST_S)

    async def _insert(self, entry: Entry, ticks: Sequence[int]) -> bool:
        """Insert the jobs of ticks; tell whether one was refused, which is tried again."""
        jobs = [tick_job(entry, tick) for tick in ticks]
        enqueued = await self._broker.enqueue(jobs)
        self._clock.sync(enqueued.now)
        for tick, job, result in zip(ticks, jobs, enqueued.results, strict=True):
            if isinstance(result, Refused):
                _log_refused(entry, job, result)
                return True
            self._done[entry.name] = tick
            if isinstance(result, Applied):
                logger.info("cron_fired", extra={"schedule": entry.name, "job_id": job.id})
        return False

    async def _entries(self) -> list[Entry]:
        """Read the entries that this process may fire."""
        documents = await self._broker.documents(PREFIX)
        known = self._known
        self._known = {}
        found: list[Entry] = []
        for document in documents:
            version, entry = known.get(document.name, (0, None))
            if version != document.version:
                entry = decode(document.data)
                self._say_what_is_left(document.name, entry)
            self._known[document.name] = (document.version, entry)
            if entry is not None and self._is_ours(entry):
                found.append(entry)
        return found

    def _is_ours(self, entry: Entry) -> bool:
        return entry.origin is Origin.STORED or entry.name in self._declared

    def _say_what_is_left(self, document: str, entry: Entry | None) -> None:
        if entry is None:
            logger.warning("cron_unreadable", extra={"document": document})
        elif not self._is_ours(entry):
            # Other applications may share the store, so this is no fault by itself.
            logger.info("cron_orphan", extra={"schedule": entry.name})

    async def _declare(self) -> None:
        """Store what the code declares, once; what cannot be stored is named and left."""

        async def broker() -> Broker:
            return self._broker

        schedules = Schedules(broker)
        for name, own in list(self._undeclared.items()):
            try:
                await schedules.declare(own)
            except BrokerError as error:
                if not isinstance(error, NotAccepted):
                    raise
                _log_undeclared(name, error)
            except TreadleError as error:
                _log_undeclared(name, error)
            del self._undeclared[name]


def _log_undeclared(name: str, error: TreadleError) -> None:
    logger.error("cron_not_declared", extra={"schedule": name, "error": str(error)})


def _log_refused(entry: Entry, job: Job, refused: Refused) -> None:
    said = {"schedule": entry.name, "job_id": job.id, "reason": refused.code.value}
    logger.warning("cron_refused", extra=said)
