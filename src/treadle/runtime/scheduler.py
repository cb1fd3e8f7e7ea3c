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
from anyio.lowlevel import checkpoint
from msgspec import Struct

from treadle.broker.base import Applied, Broker
from treadle.domain.job import NEVER, Job
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


class _Known(Struct, kw_only=True):
    """A document as it was read, and when it must be looked at again: finding the next tick costs most."""

    version: int
    entry: Entry | None
    looked: int = NEVER
    calm_until: int = NEVER
    """No tick lies between `looked` and this, and those before were fired."""


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
        self._known: dict[str, _Known] = {}
        """Each document as it was read last."""

    async def run(self) -> None:
        """Fire until cancelled."""
        while True:
            try:
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
        if self._undeclared:
            await self._declare()
        self._clock.sync((await self._broker.stats()).now)
        every = await self._read()
        now = self._clock.now_ms()
        # A clock that was set back: what is fired again has the same ids, and is not stored twice.
        self._done = {name: min(done, now) for name, done in self._done.items()}
        soonest = now + self._read_ms
        for known in every:
            soonest = min(soonest, await self._fire(known, now))
        return max((soonest - self._clock.now_ms()) / 1000, _SOONEST_S)

    async def _fire(self, known: _Known, now: int) -> int:
        """Insert the jobs of what is due of one entry; return when it must be looked at again."""
        entry = known.entry
        if entry is None or known.looked <= now < known.calm_until:
            return known.calm_until
        await checkpoint()  # the arithmetic of many entries must not keep others from the loop
        ticks = due_ticks(entry, self._done.get(entry.name, 0), now)
        for start in range(0, len(ticks), BATCH):
            if await self._insert(entry, ticks[start : start + BATCH]):
                return now + _AGAIN_MS
        known.looked, known.calm_until = now, next_tick(entry, now) or NEVER
        return known.calm_until

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
                logger.info("cron_fired", extra=_fields(entry, job, "queued"))
        return False

    async def _read(self) -> list[_Known]:
        """Read the entries that this process may fire."""
        documents = await self._broker.documents(PREFIX)
        before, self._known = self._known, {}
        found: list[_Known] = []
        for document in documents:
            known = before.get(document.name)
            if known is None or known.version != document.version:
                known = _Known(version=document.version, entry=decode(document.data))
                self._say_what_is_left(document.name, known.entry)
            self._known[document.name] = known
            if known.entry is not None and self._is_ours(known.entry):
                found.append(known)
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
        """Store what code and settings declare, once; what cannot be stored is named and left."""

        async def broker() -> Broker:
            return self._broker

        schedules = Schedules(broker)
        documents = await self._broker.documents(PREFIX)
        standing = {document.name: decode(document.data) for document in documents}
        for name, own in list(self._undeclared.items()):
            try:
                entry = standing.get(PREFIX + name)
                if entry is None or not own.stands_as(entry):
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
    said = {**_fields(entry, job, "refused"), "reason": refused.code.value}
    logger.warning("cron_refused", extra=said)


def _fields(entry: Entry, job: Job, status: str) -> dict[str, object]:
    about = {"job_id": job.id, "type": job.type, "queue": job.queue, "status": status}
    return {"schedule": entry.name, **about}
