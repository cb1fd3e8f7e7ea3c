"""What a run of the demo came to: counted from what the broker holds, from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from treadle.domain.job import After, Record
from treadle.domain.state import FINAL, Event, State


class Figures(Struct, frozen=True, kw_only=True):
    """The result of the demo."""

    enqueued: int
    succeeded: int
    dead: int
    retried: int
    """Jobs that failed and were tried again."""
    recovered: int
    """Jobs that the killed worker held and that ended later, run by somebody else."""
    lost: int
    """Accepted jobs that are not final, or not there."""
    run_twice: int
    """Jobs with two records of success: must be 0."""
    delayed: int
    jobs_per_second: float
    wait_p50_ms: int
    wait_p99_ms: int
    seconds: float
    """From the first claim to the last end, by the broker's clock."""


def figures(accepted: Sequence[str], records: Mapping[str, Record], killed_session: str) -> Figures:
    """Count a run: the ids that were accepted, what the broker has of them, and who was killed."""
    final = {name: r for name, r in records.items() if r.head.state in FINAL}
    ended = [r.head.finished for r in final.values()]
    claims = [claimed for r in records.values() if (claimed := _first_claim(r)) is not None]
    seconds = max((max(ended) - min(claims)) / 1_000, 0.001) if ended and claims else 0.0
    waits = sorted(w for r in records.values() if (w := _wait_ms(r)) is not None)
    return Figures(
        enqueued=len(accepted),
        succeeded=_count(final, State.SUCCEEDED),
        dead=_count(final, State.DEAD),
        retried=sum(_was_retried(r) for r in records.values()),
        recovered=sum(_was_recovered(r, killed_session) for r in final.values()),
        lost=sum(name not in final for name in accepted),
        run_twice=sum(_events(r, Event.SUCCEED) > 1 for r in records.values()),
        delayed=sum(_delay_ms(r) > 0 for r in records.values()),
        jobs_per_second=round(len(final) / seconds, 1) if seconds else 0.0,
        wait_p50_ms=_quantile(waits, 0.50),
        wait_p99_ms=_quantile(waits, 0.99),
        seconds=round(seconds, 2),
    )


def _count(final: Mapping[str, Record], state: State) -> int:
    return sum(record.head.state is state for record in final.values())


def _events(record: Record, event: Event) -> int:
    return sum(row.event == event for row in record.history)


def _was_retried(record: Record) -> bool:
    """Tell whether an attempt failed and a later one was made."""
    failures = _events(record, Event.FAIL)
    return failures > 1 or (failures == 1 and record.head.attempt > 1)


def _was_recovered(record: Record, killed_session: str) -> bool:
    """Tell whether the killed session lost the job, and another session's attempt ended it."""
    lost_at = [
        row.fence
        for row in record.history
        if row.event == Event.LOSE and row.session == killed_session
    ]
    if not lost_at:
        return False
    return any(
        row.fence > lost_at[0] and row.session != killed_session and row.claimed
        for row in record.history
        if row.event in (Event.SUCCEED, Event.FAIL)
    )


def _first_claim(record: Record) -> int | None:
    claims = [row.claimed for row in record.history if row.claimed]
    return min(claims) if claims else None


def _delay_ms(record: Record) -> int:
    return record.job.due.ms if isinstance(record.job.due, After) else 0


def _wait_ms(record: Record) -> int | None:
    """Return how long the job was due before it was first claimed."""
    claimed = _first_claim(record)
    if claimed is None:
        return None
    return max(claimed - record.created - _delay_ms(record), 0)


def _quantile(ordered: Sequence[int], share: float) -> int:
    if not ordered:
        return 0
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
