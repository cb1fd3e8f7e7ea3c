"""What a person's action did to a job, in the words in which people see its state."""

from __future__ import annotations

from typing import Final, assert_never

from treadle.domain.head import instant
from treadle.domain.job import Record
from treadle.domain.outcome import CancelRequest, Change, Removal, Write
from treadle.domain.state import shown

CANCEL_REQUESTED: Final = "cancel_requested"
"""After an action: it runs, and its worker is asked to stop it."""
REMOVED: Final = "removed"
"""After an action: there is no record any more."""


def state_before(record: Record, now: int) -> str:
    """Name the state in which an action at `now` finds a job."""
    head = record.head
    return shown(head.state, due=head.due, attempt=head.attempt, now=now).value


def state_after(record: Record, write: Write, now: int) -> str:
    """Name the state in which a write at `now` leaves the job that it was decided for."""
    match write:
        case Change(state=state, due=due, attempt=attempt):
            due_at = instant(due, now, record.head.due)
            return shown(state, due=due_at, attempt=attempt, now=now).value
        case CancelRequest():
            return CANCEL_REQUESTED
        case Removal():
            return REMOVED
        case _:
            assert_never(write)
