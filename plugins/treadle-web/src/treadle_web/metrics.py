"""The text format of Prometheus: what the store counts, per queue, without counting a job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from treadle.broker.base import QueueStats, SessionInfo, Stats

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"

_STATES: Final = ("waiting", "blocked", "running", "succeeded", "dead", "cancelled")
_PER_QUEUE: Final[tuple[tuple[str, str, Callable[[QueueStats, int], float | None]], ...]] = (
    (
        "treadle_jobs_later",
        "Waiting jobs that are not due yet; may be an estimate.",
        lambda queue, _: queue.later,
    ),
    (
        "treadle_queue_ready",
        "Jobs that could be claimed now.",
        lambda queue, _: max(queue.waiting - queue.later, 0),
    ),
    (
        "treadle_queue_oldest_seconds",
        "For how long the job that waits longest could have been claimed.",
        lambda queue, now: (
            None if queue.oldest_due is None else max(now - queue.oldest_due, 0) / 1_000
        ),
    ),
    (
        "treadle_queue_paused",
        "1 if workers may not claim from the queue.",
        lambda queue, _: int(queue.paused),
    ),
)


def exposition(stats: Stats, sessions: Sequence[SessionInfo]) -> str:
    """Write every number that the store knows."""
    return "\n".join([*_lines(stats, sessions), ""])


def _lines(stats: Stats, sessions: Sequence[SessionInfo]) -> Iterator[str]:
    yield from _head("treadle_jobs", "Records of jobs that are kept, by queue and state.")
    for queue in stats.queues:
        for state in _STATES:
            name = _quoted(queue.queue)
            yield f'treadle_jobs{{queue="{name}",state="{state}"}} {getattr(queue, state)}'
    for metric, text, read in _PER_QUEUE:
        yield from _head(metric, text)
        for queue in stats.queues:
            value = read(queue, stats.now)
            if value is not None:
                yield f'{metric}{{queue="{_quoted(queue.queue)}"}} {value:g}'
    alive = [one for one in sessions if one.expires > stats.now]
    yield from _head("treadle_workers", "Workers by what their heartbeats say.")
    yield f'treadle_workers{{state="alive"}} {len(alive)}'
    yield f'treadle_workers{{state="expired"}} {len(sessions) - len(alive)}'


def _head(metric: str, text: str) -> Iterator[str]:
    yield f"# HELP {metric} {text}"
    yield f"# TYPE {metric} gauge"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
