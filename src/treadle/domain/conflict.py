"""What a refused write means to the worker that sent it."""

from __future__ import annotations

from enum import Enum

from treadle.domain.job import Record
from treadle.domain.outcome import Change, Write
from treadle.domain.state import State


class Verdict(Enum):
    """What to do with an outcome whose write was refused."""

    AGAIN = "again"
    """The record still runs under our fence: a cancel request stands; decide again with it."""
    OWN = "own"
    """The write is in the record's history: it was ours, only the reply was lost."""
    DROP = "drop"
    """Somebody else has written: the attempt lost its lease."""
    GONE = "gone"
    """An unstarted job that was to be handed back is no longer ours: nothing was lost."""


def after_conflict(write: Write, current: Record | None, *, resent: bool) -> Verdict:
    """Tell what became of an attempt whose `write` met a conflict with `current`.

    `resent` says that the write was sent before without a reply.
    """
    if current is None or current.forgotten:
        return Verdict.DROP
    if current.head.state is State.RUNNING and current.head.fence == write.fence:
        return Verdict.AGAIN
    if resent and isinstance(write, Change) and _has_row(current, write):
        return Verdict.OWN
    return Verdict.DROP if _tells_of_a_run(write) else Verdict.GONE


def _tells_of_a_run(write: Write) -> bool:
    return not isinstance(write, Change) or write.history is not None


def _has_row(current: Record, change: Change) -> bool:
    event = change.event.value
    return any(row.fence == change.fence and row.event == event for row in current.history)
