"""Decides about jobs that nobody answers for: lost leases, and blocked jobs that are due for a look.

Every worker sweeps, at jittered times; nothing is elected. Two workers that decide about the same
record write under the same fence, so one of them conflicts and nothing happens twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio

from treadle.broker.base import Applied, Broker
from treadle.domain.decide import decide
from treadle.domain.job import Record, Ref
from treadle.domain.outcome import Change, Happening, LookedAt, Lost, Refused, Write
from treadle.domain.retry import Rng
from treadle.domain.state import Event, State
from treadle.errors import BrokerError
from treadle.runtime.backoff import Backoff
from treadle.runtime.clock import BrokerClock
from treadle.runtime.report import WorkerReport

_BATCH = 100
_MOST = 6_400
"""A look past records that nothing can be decided about ends here."""
AFTER_OUTAGE_S = 3.0
"""Nothing is declared lost before this worker could renew its own lease for so long: after an outage
the owners come first."""


class Sweeper:
    """Sweeps overdue records every `each_ms`, also when the queues are silent.

    `renewed_for` tells for how many seconds every heartbeat of this worker has been answered.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        clock: BrokerClock,
        rng: Rng,
        report: WorkerReport,
        each_ms: int,
        renewed_for: Callable[[], float],
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._rng = rng
        self._report = report
        self._each = each_ms / 1000
        self._backoff = Backoff(rng, "sweep")
        self._renewed_for = renewed_for
        self._limit = _BATCH

    async def wait(self, sooner: anyio.Event) -> None:
        """Wait until `sooner` is set or the time for a sweep has come, whatever is first."""
        with anyio.move_on_after(self._each * (0.5 + self._rng.random())):
            await sooner.wait()

    async def run(self) -> None:
        """Sweep until nothing moves any more."""
        try:
            while await self.sweep():
                await anyio.lowlevel.checkpoint()
            self._backoff.worked()
        except BrokerError as error:
            await self._backoff.failed(error)

    async def sweep(self) -> bool:
        """Decide about one batch of overdue records; tell whether another look is worth it.

        A broker names the same records first each time, and some may never move: their state is not
        what an index says of it, or their writes conflict. The look goes past them, twice as far
        after each batch in which nothing moved.
        """
        overdue = await self._broker.overdue(self._limit)
        self._clock.sync(overdue.now)
        is_full = len(overdue.records) >= self._limit
        if not is_full:
            self._limit = _BATCH
        records = overdue.records
        if self._renewed_for() < AFTER_OUTAGE_S:
            records = tuple(each for each in records if each.head.state is State.BLOCKED)
        if not records:
            return False
        if await settle_abandoned(
            self._broker, records, now=overdue.now, rng=self._rng, report=self._report
        ):
            return True
        if not is_full or self._limit >= _MOST:
            return False
        self._limit *= 2
        return True


async def settle_abandoned(
    broker: Broker, records: Sequence[Record], *, now: int, rng: Rng, report: WorkerReport
) -> bool:
    """Decide about records whose owner is gone, and blocked ones; tell whether any moved."""
    parents = await _parent_states(broker, records)
    writes: list[Write] = []
    for record in records:
        happening = _happening(record, parents)
        write = decide(record, happening, record.job.policy, now, rng)
        if not isinstance(write, Refused):
            writes.append(write)
    settled = await broker.apply(writes)
    moved = False
    for write, result in zip(writes, settled.results, strict=True):
        if isinstance(result, Applied) and isinstance(write, Change):
            moved = True
            report.lost += write.event is Event.LOSE
    return moved


def _happening(record: Record, parents: dict[Ref, State]) -> Happening:
    if record.head.state is State.BLOCKED:
        return LookedAt(parents=tuple((ref, parents.get(ref)) for ref in record.edges))
    return Lost(ended=record.session_ended, detail=f"lease of session {record.head.session} ended")


async def _parent_states(broker: Broker, records: Sequence[Record]) -> dict[Ref, State]:
    refs = sorted({ref for record in records for ref in record.edges})
    if not refs:
        return {}
    found = await broker.get(refs)
    return {
        ref: record.head.state
        for ref, record in zip(refs, found, strict=True)
        if record is not None
    }
