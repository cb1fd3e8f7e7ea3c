"""What a worker counts for Prometheus: attempts by outcome, how long they waited and ran.

Everything is counted per batch of settled outcomes, when the broker has accepted them; no job pays
for a call of its own. The counts of outcomes are exact. Times are taken of every job as long as a
batch is small; of a large one in which all succeeded, which only a worker brings about that runs thousands
of jobs a second, times are taken of a few jobs, chosen by chance, and each counts for its share of the batch.

Labels cannot grow without end: a type that has no handler here counts as `unknown`, and what comes after
the first thousand pairs of queue and type counts as `other`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Final

from treadle.domain.job import After, Record
from treadle.domain.outcome import (
    Cancelled,
    Change,
    Failed,
    Happening,
    Interrupted,
    Snoozed,
    Succeeded,
    Write,
)
from treadle.runtime.report import Ending, WorkerReport, ending_of

if TYPE_CHECKING:
    from treadle.runtime.crew import Crew
    from treadle.runtime.settle import Entry

BOUNDS_MS: Final = (
    *(1, 5, 10, 25, 50, 100, 250, 500),
    *(1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 1_800_000, 3_600_000),
)
"""The upper bounds of the buckets of both histograms, without the last one, which has none."""
MOST_SERIES: Final = 1_000
ALL_TIMED: Final = 32
"""In a batch of so many the times of all are taken; in a larger one those of a few."""
SOME_TIMED: Final = 4
UNKNOWN: Final = "unknown"
OTHER: Final = "other"

_Key = tuple[str, str]


class Histogram:
    """How often a time fell between two bounds, and the sum of all times."""

    __slots__ = ("buckets", "sum_ms")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS_MS) + 1)
        self.sum_ms = 0

    def add(self, ms: int, times: int) -> None:
        """Count a time so many times; times are whole milliseconds, cut off."""
        self.buckets[bisect_right(BOUNDS_MS, ms)] += times
        self.sum_ms += ms * times


class Series:
    """What is counted for one queue and type."""

    __slots__ = ("outcomes", "ran", "waited")

    def __init__(self) -> None:
        self.outcomes: dict[Ending, int] = dict.fromkeys(Ending, 0)
        self.ran = Histogram()
        self.waited = Histogram()


class Meter:
    """The counts of one worker process; written on its loop, read from any thread."""

    def __init__(self, handlers: Mapping[str, object], queues: Collection[str]) -> None:
        self.report = WorkerReport()
        """The worker's own counts."""
        self.crews: Sequence[Crew] = ()
        self._handlers = handlers
        self._queue = next(iter(queues)) if len(queues) == 1 else None
        """The only one that is served; None = there are several."""
        self._series: dict[_Key, Series] = {}
        self._chance = Random().random

    def watch(self, report: WorkerReport, crews: Sequence[Crew]) -> None:
        """Tell from now on what these count; a worker does so with each session."""
        self.report = report
        self.crews = crews

    def series(self) -> dict[_Key, Series]:
        """Return what was counted, by queue and type; the dict is the caller's own."""
        return self._series.copy()

    def settled(self, entry: Entry, write: Write) -> None:
        """Count an attempt whose outcome the broker has accepted as `write`."""
        if isinstance(write, Change):
            job = entry.record.job
            self._of((job.queue, job.type)).outcomes[ending_of(write)] += 1
        self._time(entry, 1)

    def succeeded(self, entries: Sequence[Entry]) -> None:
        """Do the same for a batch in which all succeeded, as almost all do."""
        if not entries:
            return
        self._count(entries)
        if len(entries) <= ALL_TIMED:
            for entry in entries:
                self._time(entry, 1)
            return
        begin = 0
        for number in range(SOME_TIMED):
            end = len(entries) * (number + 1) // SOME_TIMED
            self._time(entries[begin + int(self._chance() * (end - begin))], end - begin)
            begin = end

    def _count(self, entries: Sequence[Entry]) -> None:
        # What is done for each job here is all that a busy worker notices: a loop, and one in C.
        kinds = [entry.record.job.type for entry in entries]
        queue = self._queue
        if queue is None:
            queues = [entry.record.job.queue for entry in entries]
            counted: dict[_Key, int] = Counter(zip(queues, kinds, strict=True))
        elif kinds.count(kinds[0]) == len(kinds):
            counted = {(queue, kinds[0]): len(kinds)}
        else:
            counted = {(queue, kind): times for kind, times in Counter(kinds).items()}
        for key, times in counted.items():
            self._of(key).outcomes[Ending.SUCCEEDED] += times

    def _time(self, entry: Entry, times: int) -> None:
        record, happening = entry.record, entry.happening
        ran_ms = _ran_ms(happening)
        if ran_ms is None:
            return
        series = self._of((record.job.queue, record.job.type))
        series.ran.add(ran_ms, times)
        if record.head.attempt == 1:
            series.waited.add(_waited_ms(record), times)

    def _of(self, key: _Key) -> Series:
        return self._series.get(key) or self._new(key)

    def _new(self, key: _Key) -> Series:
        queue, kind = key
        if kind not in self._handlers:
            key = (queue, UNKNOWN)
        if key not in self._series and len(self._series) >= MOST_SERIES:
            key = (OTHER, OTHER)
        return self._series.setdefault(key, Series())


def _waited_ms(record: Record) -> int:
    """Return how long a job waited for its first attempt from when it could have been claimed."""
    due = record.job.due
    first = record.created + due.ms if isinstance(due, After) else max(due.ms, record.created)
    return max(record.head.claimed - first, 0)


def _ran_ms(happening: Happening) -> int | None:
    """Return how long the handler ran; None if it was not called."""
    match happening:
        case Succeeded() | Failed() | Snoozed() | Cancelled():
            return happening.ran_ms
        case Interrupted():
            return happening.ran_ms if happening.started else None
        case _:
            return None


# -- the text format of Prometheus, version 0.0.4


def exposition(meter: Meter) -> str:
    """Write everything that a worker counts."""
    return "".join(f"{line}\n" for line in _lines(meter))


def _lines(meter: Meter) -> Iterator[str]:
    found = sorted(meter.series().items())
    yield from _head("attempts_total", "counter", "Attempts that ended, by how.")
    for key, series in found:
        for outcome, count in series.outcomes.items():
            if count:
                yield f'treadle_worker_attempts_total{{{_labels(key)},outcome="{outcome}"}} {count}'
    text = "How long the handler ran, in whole milliseconds, cut off."
    yield from _head("run_seconds", "histogram", text)
    for key, series in found:
        yield from _histogram("run_seconds", key, series.ran)
    text = "How long a job waited for its first attempt from when it was due."
    yield from _head("wait_seconds", "histogram", text)
    for key, series in found:
        yield from _histogram("wait_seconds", key, series.waited)
    report = meter.report
    for name, kind, text, value in (
        ("slots", "gauge", "How many jobs can run at a time.", _slots(meter)),
        ("slots_busy", "gauge", "How many run now.", sum(crew.busy for crew in meter.crews)),
        (
            "prefetched",
            "gauge",
            "Jobs that were claimed and wait for a slot.",
            sum(len(crew.buffer) for crew in meter.crews),
        ),
        ("claimed_total", "counter", "Jobs that were claimed.", report.claimed),
        (
            "leases_lost_total",
            "counter",
            "Attempts whose lease was lost: another worker had the job meanwhile.",
            report.lease_lost,
        ),
        (
            "declared_lost_total",
            "counter",
            "Attempts of workers that died or fell silent, found by this one.",
            report.lost,
        ),
        ("reconnects_total", "counter", "How often the broker came back.", report.reconnects),
        ("stuck", "gauge", "Handlers that ignore that they were stopped.", report.stuck),
        ("leaked_total", "counter", "Tasks that handlers left behind.", report.leaked),
    ):
        yield from _head(name, kind, text)
        yield f"treadle_worker_{name} {value}"


def _slots(meter: Meter) -> int:
    return len(meter.crews[0].slots) if meter.crews else 0


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP treadle_worker_{name} {text}"
    yield f"# TYPE treadle_worker_{name} {kind}"


def _labels(key: _Key) -> str:
    # Names of queues and types need no escapes: letters, digits and _ . - only.
    return f'queue="{key[0]}",type="{key[1]}"'


def _histogram(name: str, key: _Key, histogram: Histogram) -> Iterator[str]:
    buckets, labels, seen = histogram.buckets.copy(), _labels(key), 0
    if not any(buckets):
        return
    for bound, count in zip(BOUNDS_MS, buckets, strict=False):
        seen += count
        yield f'treadle_worker_{name}_bucket{{{labels},le="{bound / 1_000:g}"}} {seen}'
    seen += buckets[-1]
    yield f'treadle_worker_{name}_bucket{{{labels},le="+Inf"}} {seen}'
    yield f"treadle_worker_{name}_sum{{{labels}}} {histogram.sum_ms / 1_000:g}"
    yield f"treadle_worker_{name}_count{{{labels}}} {seen}"
