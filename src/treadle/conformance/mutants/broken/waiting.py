"""Waiting claims and readers that nobody wakes."""

# ruff: noqa: D102 - the first line of each class says what its methods do wrong.

from __future__ import annotations

from collections.abc import Sequence

import anyio
from anyio.lowlevel import checkpoint

from treadle.broker.memory.lane import Row
from treadle.broker.memory.sleepers import Bell
from treadle.broker.values import Claimed
from treadle.conformance.mutants.loose import LooseBroker, LooseStore, LooseTable
from treadle.conformance.mutants.mutant import mutant
from treadle.domain.job import Head
from treadle.domain.state import Event


@mutant("M23", case="C248")
class HandBacksWakeNobody(LooseTable):
    """A job that waits again does not wake a waiting claim."""

    def move(self, row: Row, head: Head, event: Event, now: int, *, first: bool = False) -> None:
        bells, self.claims.bells = self.claims.bells, {}
        super().move(row, head, event, now, first=first)
        self.claims.bells = bells


@mutant("M24", case="C240")
class WakeUpsAreLostBeforeTheSleep(LooseBroker):
    """What is stored between a claim's look and its sleep does not wake it."""

    async def _claim_later(
        self, session: str, queues: Sequence[str], limit: int, left: float
    ) -> Claimed:
        claimed, _ = self._store.claim(session, queues, limit)
        if claimed.records:
            return claimed
        await checkpoint()
        bell = Bell(queues)
        try:
            # Nothing is asked for: this only leaves the bell, and tells when a timer is due.
            now, due = self._store.claim(session, queues, 0, bell)
            sleep = left if due is None else min(left, max(due - now.now, 1) / 1_000)
            with anyio.move_on_after(sleep):
                await bell.event.wait()
            return self._store.claim(session, queues, limit)[0]
        finally:
            self._store.leave(bell)


@mutant("M25", case="C567")
class ReadersOfEventsSleepOn(LooseStore):
    """Nothing that happens wakes a waiting reader of events."""

    def _tell_readers(self) -> None:
        self._table.log.cut()


@mutant("M26", case="C251")
class ResumingWakesNobody(LooseStore):
    """Resuming a queue does not wake a waiting claim."""

    def pause(self, queue: str, paused: bool) -> None:
        with self._lock:
            self._table.lane(queue).paused = paused
