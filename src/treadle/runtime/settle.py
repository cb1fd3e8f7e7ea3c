"""Outcomes on their way to the broker: decided, written, and decided again after a conflict.

An entry stays here until the broker has answered for it, so an outage loses nothing. After a
`Conflict` the domain says whether to decide again, to count the write as ours, or to drop it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence

from msgspec import Struct

from treadle.broker.base import Applied, Conflict, Duplicate
from treadle.domain.conflict import Verdict, after_conflict
from treadle.domain.decide import decide
from treadle.domain.job import Record
from treadle.domain.limits import Budget, trim
from treadle.domain.outcome import Change, Happening, Refused, Write
from treadle.domain.retry import Rng
from treadle.runtime.metrics import Meter
from treadle.runtime.report import WorkerReport

logger = logging.getLogger("treadle.settle")


_SMALL = 4 * 1024


class Entry(Struct, gc=False):
    """An attempt that ended: its record as claimed, or as it stands after a conflict."""

    record: Record
    happening: Happening
    uncertain: bool = False
    """It was sent once and no reply came."""


Forget = Callable[[Record], None]


class Settler:
    """Keeps ended attempts until the broker has answered for them.

    `forget` is called for every record that no longer needs its lease.
    """

    def __init__(
        self,
        *,
        rng: Rng,
        budget: Budget,
        report: WorkerReport,
        forget: Forget,
        meter: Meter | None = None,
    ) -> None:
        self.waiting: deque[Entry] = deque()
        self.in_flight: list[Entry] = []
        self.children = False
        """Some job that others wait for is final: somebody should look at once."""
        self._rng = rng
        self._budget = budget
        self._report = report
        self._forget = forget
        self._meter = meter

    def add(self, record: Record, happening: Happening) -> None:
        """Keep an ended attempt until it is settled."""
        self.waiting.append(Entry(record, happening))

    def __len__(self) -> int:
        """Count what is not settled yet."""
        return len(self.waiting) + len(self.in_flight)

    def begin(self, most: int, now: int) -> list[Write]:
        """Decide about the oldest entries; they are in flight until `answered` or `failed`."""
        writes: list[Write] = []
        entries = self.in_flight
        while self.waiting and len(writes) < most:
            entry = self.waiting.popleft()
            record = entry.record
            write = decide(record, entry.happening, record.job.policy, now, self._rng)
            if isinstance(write, Change):
                if _may_be_large(write):
                    write = trim(write, self._budget)
            elif isinstance(write, Refused):
                self._drop(entry)
                continue
            entries.append(entry)
            writes.append(write)
        return writes

    def answered(
        self, writes: Sequence[Write], results: Sequence[Applied | Conflict | Duplicate]
    ) -> None:
        """Take the broker's answers for everything in flight."""
        entries, self.in_flight = self.in_flight, []
        before, own = self._report.succeeded, list[Entry]()
        count, forget = self._report.count, self._forget
        for entry, write, result in zip(entries, writes, results, strict=True):
            if isinstance(result, Applied):  # almost all: a class pattern costs three times as much
                if isinstance(write, Change):
                    count(write)
                forget(entry.record)
                if result.children:
                    self.children = True
            elif isinstance(result, Conflict):
                if self._conflict(entry, write, result.record):
                    own.append(entry)
            else:
                self._drop(entry)
        if self._meter is None:
            return
        if self._report.succeeded - before == len(entries):
            self._meter.succeeded(entries)
            return
        for entry, write, result in zip(entries, writes, results, strict=True):
            if isinstance(result, Applied) or any(entry is one for one in own):
                self._meter.settled(entry, write)

    def failed(self) -> None:
        """Put everything in flight back: the broker did not answer, it may have written."""
        for entry in reversed(self.in_flight):
            entry.uncertain = True
            self.waiting.appendleft(entry)
        self.in_flight = []

    def _conflict(self, entry: Entry, write: Write, current: Record | None) -> bool:
        """Deal with a write that was refused; tell whether it had been applied before."""
        match after_conflict(write, current, resent=entry.uncertain):
            case Verdict.AGAIN:
                entry.record = current or entry.record
                self.waiting.append(entry)
            case Verdict.OWN:
                if isinstance(write, Change):
                    self._report.count(write)
                self._forget(entry.record)
                return True
            case Verdict.DROP:
                self._drop(entry)
            case Verdict.GONE:
                self._forget(entry.record)
        return False

    def _drop(self, entry: Entry) -> None:
        self._report.lease_lost += 1
        job = entry.record.job
        logger.warning(
            "lease_lost",
            extra={"job_id": job.id, "queue": job.queue, "type": job.type, "status": "lost"},
        )
        self._forget(entry.record)


def _may_be_large(change: Change) -> bool:
    result, history = change.result, change.history
    if result is not None and len(result) > _SMALL:
        return True
    return history is not None and history.error is not None
