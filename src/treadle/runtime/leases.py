"""What a session holds, and what each heartbeat says about it.

Everything that was claimed is held until it is settled: prefetched, running, or on its way to the
broker. The heartbeat thread reads the table while the loop changes it, which is why a copy is
taken in one step. An orphan (the store holds it for us, we do not know it) is a claim whose reply was
lost. It is handed back only if two beats named it with the same fence and every claim call that was
under way at the first has ended: before that, its reply may still come.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from treadle.broker.base import Lease, Pulse
from treadle.domain.job import Record
from treadle.domain.outcome import Interrupted
from treadle.runtime.crew import Crew
from treadle.runtime.settle import Settler
from treadle.runtime.slots import Slot, Stop


class Leases:
    """The leases of one session; all methods but `held` belong to the worker's loop."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], Lease] = {}
        self._claims_begun = 0
        self._claims_open: set[int] = set()
        self._orphans: dict[Lease, int] = {}

    def held(self) -> list[Lease]:
        """Return a copy of all leases; safe from any thread."""
        return list(self._held.copy().values())

    def __len__(self) -> int:
        """Count the leases."""
        return len(self._held)

    def begin_claim(self) -> int:
        """Note that a claim call begins; give the number to `end_claim`."""
        self._claims_begun += 1
        self._claims_open.add(self._claims_begun)
        return self._claims_begun

    def end_claim(self, number: int, records: Sequence[Record]) -> None:
        """Note that a claim call ended, and hold what it returned."""
        held = self._held
        for record in records:
            job = record.job
            held[job.queue, job.id] = Lease(job.queue, job.id, record.head.fence)
        self._claims_open.discard(number)

    def forget(self, record: Record) -> None:
        """Stop holding a record that was settled or lost; a later attempt of it is kept."""
        key = record.job.queue, record.job.id
        held = self._held.get(key)
        if held is not None and held.fence == record.head.fence:
            del self._held[key]

    def forget_all(self) -> None:
        """Hold nothing any more: the session has ended."""
        self._held.clear()

    def heard(self, pulse: Pulse, crews: Sequence[Crew], settler: Settler, now: float) -> int:
        """Act on a heartbeat's answer; return how many orphans were handed back."""
        for lease in pulse.lost:
            self._lost(lease, crews, now)
        for lease in pulse.cancels:
            self._cancelled(lease, crews, settler, now)
        return self._adopt(pulse.orphans, settler)

    def _lost(self, lease: Lease, crews: Sequence[Crew], now: float) -> None:
        slot = _running(crews, lease)
        if slot is not None:
            slot.stop(Stop.LOST, now)
            return
        record = _taken(crews, lease)
        if record is not None:
            self.forget(record)
        # Else its outcome is on its way already: the fence decides.

    def _cancelled(self, lease: Lease, crews: Sequence[Crew], settler: Settler, now: float) -> None:
        slot = _running(crews, lease)
        if slot is not None:
            slot.stop(Stop.CANCEL, now)
            return
        record = _taken(crews, lease)
        if record is not None:
            settler.add(record, Interrupted(started=False))

    def _adopt(self, orphans: Sequence[Record], settler: Settler) -> int:
        seen: dict[Lease, int] = {}
        adopted = 0
        for record in orphans:
            lease = Lease(record.job.queue, record.job.id, record.head.fence)
            if (lease.queue, lease.id) in self._held:
                continue
            first = self._orphans.get(lease)
            if first is None:
                seen[lease] = self._claims_begun
            elif any(number <= first for number in self._claims_open):
                seen[lease] = first
            else:
                self._held[lease.queue, lease.id] = lease
                settler.add(record, Interrupted(started=False))
                adopted += 1
        self._orphans = seen
        return adopted


def _running(crews: Sequence[Crew], lease: Lease) -> Slot | None:
    for crew in crews:
        slot = crew.running(lease)
        if slot is not None:
            return slot
    return None


def _taken(crews: Sequence[Crew], lease: Lease) -> Record | None:
    """Take one record out of a crew's buffer, if it still waits there."""
    for crew in crews:
        for record in tuple(crew.buffer):
            job = record.job
            if (job.queue, job.id, record.head.fence) == (lease.queue, lease.id, lease.fence):
                with suppress(ValueError):  # a slot, or the heartbeat thread, was quicker
                    crew.buffer.remove(record)
                    return record
    return None
