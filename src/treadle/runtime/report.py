"""What a worker did, as plain counts."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from treadle.domain.outcome import Change
from treadle.domain.state import Event, State

_SUCCEEDED: Final = State.SUCCEEDED
"""Looked up once: this is compared for every job."""


class Ending(StrEnum):
    """How an attempt ended, as it is counted."""

    SUCCEEDED = "succeeded"
    RETRIED = "retried"
    DEAD = "dead"
    CANCELLED = "cancelled"
    SNOOZED = "snoozed"
    PARKED = "parked"
    INTERRUPTED = "interrupted"
    OTHER = "other"
    """It waits again for another reason."""


def ending_of(change: Change) -> Ending:
    """Name what a change makes of an attempt."""
    match change.state:
        case State.SUCCEEDED:
            return Ending.SUCCEEDED
        case State.DEAD:
            return Ending.DEAD
        case State.CANCELLED:
            return Ending.CANCELLED
        case _:
            return _WAITS.get(change.event, Ending.OTHER)


_WAITS: Final[Mapping[Event, Ending]] = MappingProxyType(
    {
        Event.FAIL: Ending.RETRIED,
        Event.SNOOZE: Ending.SNOOZED,
        Event.PARK: Ending.PARKED,
        Event.INTERRUPT: Ending.INTERRUPTED,
    }
)


class WorkerReport(Struct, kw_only=True):
    """Counts since the worker started; read it at any time from its own loop."""

    claimed: int = 0
    succeeded: int = 0
    retried: int = 0
    dead: int = 0
    cancelled: int = 0
    snoozed: int = 0
    parked: int = 0
    interrupted: int = 0
    lost: int = 0
    """Attempts of other sessions that this worker declared lost."""
    lease_lost: int = 0
    """Own outcomes that were refused because somebody else had written meanwhile."""
    orphans: int = 0
    leaked: int = 0
    """Tasks that handlers left behind, and that were cancelled."""
    reconnects: int = 0
    """How often the broker came back."""
    stuck: int = 0
    recycle: bool = False
    """Too many slots are stuck: the process should be replaced."""

    @property
    def failed(self) -> int:
        """Return how many jobs ended dead or cancelled."""
        return self.dead + self.cancelled

    def count(self, change: Change) -> None:
        """Count an accepted change."""
        if change.state is _SUCCEEDED:
            self.succeeded += 1
            return
        ending = ending_of(change)
        if ending is not Ending.OTHER:
            setattr(self, ending, getattr(self, ending) + 1)
