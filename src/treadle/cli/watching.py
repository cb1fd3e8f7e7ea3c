"""Following jobs until they are final: the event log wakes, reading the records decides."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import anyio
import msgspec

from treadle.broker.base import Broker, Events, Notes
from treadle.domain.job import Record, Ref
from treadle.domain.state import FINAL
from treadle.runtime.context import Progress

_CHUNK = 500
_FULL_LOOK_S = 2.0
"""Events are hints: all pending jobs are read again after this time."""

_FINAL_NAMES = frozenset(state.name.lower() for state in FINAL) | {""}


def progress_of(notes: Notes) -> Progress | None:
    """Read a job's progress; None if there is none, or somebody wrote something else."""
    if notes.progress is None:
        return None
    try:
        return msgspec.json.decode(notes.progress, type=Progress)
    except msgspec.DecodeError:
        return None


class Watch:
    """Waits for a set of jobs."""

    def __init__(self, broker: Broker, refs: Sequence[Ref]) -> None:
        self._broker = broker
        self._pending = dict.fromkeys(refs)

    async def finals(
        self, look_ms: int, each_look: Callable[[Sequence[Ref]], Awaitable[None]]
    ) -> AsyncGenerator[tuple[int, Record]]:
        """Yield the broker's now and each job as soon as it is final, until all are.

        `each_look` is called with the jobs that are not, at least every `look_ms`.
        """
        cursor = (await self._broker.events(None)).cursor
        now = (await self._broker.stats()).now
        look: Sequence[Ref] = list(self._pending)
        full_at = anyio.current_time() + _FULL_LOOK_S
        while True:
            for record in await self._read(look):
                if record is not None and record.head.state in FINAL:
                    self._pending.pop(record.ref, None)
                    yield now, record
            if not self._pending:
                return
            await each_look(list(self._pending))
            events = await self._broker.events(cursor, wait_ms=look_ms)
            cursor = events.cursor
            if events.gap or anyio.current_time() >= full_at:
                look = list(self._pending)
                full_at = anyio.current_time() + _FULL_LOOK_S
            else:
                look = self._named(events)

    async def _read(self, refs: Sequence[Ref]) -> list[Record | None]:
        found: list[Record | None] = []
        for start in range(0, len(refs), _CHUNK):
            found += await self._broker.get(refs[start : start + _CHUNK])
        return found

    def _named(self, events: Events) -> list[Ref]:
        """Return the pending jobs of which the events say that they are final."""
        named = (Ref(e.queue, e.id) for e in events.entries if e.state in _FINAL_NAMES)
        return [ref for ref in dict.fromkeys(named) if ref in self._pending]
