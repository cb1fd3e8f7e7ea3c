"""What a worker did, as plain counts."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from treadle.domain.outcome import Change
from treadle.domain.state import Event, State

_SUCCEEDED: Final = State.SUCCEEDED
"""Looked up once: this is compared for every job."""


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
    stuck: int = 0
    recycle: bool = False
    """Too many slots are stuck: the process should be replaced."""

    @property
    def failed(self) -> int:
        """Return how many jobs ended dead or cancelled."""
        return self.dead + self.cancelled

    def count(self, change: Change) -> None:
        """Count an accepted change."""
        state = change.state
        if state is _SUCCEEDED:
            self.succeeded += 1
            return
        match state:
            case State.DEAD:
                self.dead += 1
            case State.CANCELLED:
                self.cancelled += 1
            case _:
                self._count_wait(change.event)

    def _count_wait(self, event: Event) -> None:
        match event:
            case Event.FAIL:
                self.retried += 1
            case Event.SNOOZE:
                self.snoozed += 1
            case Event.PARK:
                self.parked += 1
            case Event.INTERRUPT:
                self.interrupted += 1
            case _:
                return
