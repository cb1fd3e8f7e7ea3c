"""What running attempts have to say: progress and log lines, gathered and written in batches."""

from __future__ import annotations

import threading
from collections import deque

from treadle.broker.base import Broker, Conflict, Lease, LogLine, Note, Progress, Step
from treadle.domain.job import Ref
from treadle.domain.limits import LOG_CHARS, clip
from treadle.errors import LeaseLost
from treadle.runtime.clock import BrokerClock


class Notebook:
    """Collects notes from any thread; the pump writes them before the outcome, a timer in between.

    Progress and log lines are lost with the process; a step is durable when `step` returns.
    """

    def __init__(self, clock: BrokerClock, broker: Broker, session: str) -> None:
        self._clock = clock
        self._broker = broker
        self._session = session
        self._lock = threading.Lock()
        self._progress: dict[Lease, bytes] = {}
        self._lines: deque[LogLine] = deque()

    @property
    def empty(self) -> bool:
        """Tell whether nothing waits to be written."""
        return not self._progress and not self._lines

    def progress(self, lease: Lease, data: bytes) -> None:
        """Keep the last progress of an attempt."""
        with self._lock:
            self._progress[lease] = data

    def log(self, lease: Lease, text: str) -> None:
        """Keep a log line of an attempt."""
        line = LogLine(lease=lease, at=self._clock.now_ms(), text=clip(text, LOG_CHARS))
        with self._lock:
            self._lines.append(line)

    def take(self) -> list[Note]:
        """Take everything that waits to be written."""
        with self._lock:
            notes: list[Note] = list(self._lines)
            notes += [Progress(lease=lease, data=data) for lease, data in self._progress.items()]
            self._lines.clear()
            self._progress.clear()
        return notes

    async def step(self, lease: Lease, name: str, data: bytes) -> bytes:
        """Store a step's result durably; return what was stored first under that name.

        Raises:
            LeaseLost: if the attempt no longer owns its job.
        """
        answer = (
            await self._broker.note(self._session, [Step(lease=lease, name=name, data=data)])
        )[0]
        if isinstance(answer, Conflict):
            raise LeaseLost(
                f"job {lease.id} (queue {lease.queue}): step {name!r} was not stored, "
                "the attempt lost its lease"
            )
        return data if answer.existing is None else answer.existing

    async def steps(self, lease: Lease) -> dict[str, bytes]:
        """Return the steps that this and earlier attempts stored."""
        notes = await self._broker.notes(Ref(lease.queue, lease.id))
        return dict(notes.steps)
