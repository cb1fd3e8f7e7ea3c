"""Unique keys: at most one job of a queue holds a key while it is in the key's scope.

A key is a record of its own: key -> (queue, id), the states in which its job holds it, and an
instant until which it is held whatever the state. Whether a key still holds is computed from the
holder's state when somebody else asks for it, so no write is needed to release one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct

from treadle.domain.state import FINAL, State

KEY_BYTES: Final = 256


class Scope(StrEnum):
    """How long a job holds its unique key."""

    WAITING = "waiting"
    """Until it is claimed (a job that waits again holds it again, if nobody took it)."""
    FINAL = "final"
    """Until it is final."""
    PERIOD = "period"
    """For a fixed time after it was enqueued, whatever its state."""


class OnConflict(StrEnum):
    """What enqueue does when another job holds the key."""

    REJECT = "reject"
    EXISTING = "existing"
    REPLACE = "replace"


class Unique(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A unique key of a job: any text up to 256 bytes, counted per queue.

    Raises:
        ValueError: if the key is empty, longer, or holds a lone surrogate, which is no text.
    """

    key: str
    scope: Scope = Scope.FINAL
    period_ms: int = 0
    on_conflict: OnConflict = OnConflict.EXISTING

    def __post_init__(self) -> None:
        try:
            size = len(self.key.encode())
        except UnicodeEncodeError as error:
            raise ValueError(f"a unique key is text: {self.key!r} is none") from error
        if not 0 < size <= KEY_BYTES:
            raise ValueError(f"a unique key has 1 to {KEY_BYTES} bytes, not {size}")


def _mask(states: frozenset[State]) -> int:
    return sum(1 << state for state in states)


_MASKS = {
    Scope.WAITING: _mask(frozenset({State.WAITING, State.BLOCKED})),
    Scope.FINAL: _mask(frozenset(State) - FINAL),
    Scope.PERIOD: 0,
}


def holding_states(unique: Unique) -> int:
    """Return the states in which the key holds, as a bit mask (bit number = state number).

    A broker stores the mask and compares; it need not know what a scope is.
    """
    return _MASKS[unique.scope]


def held_until(unique: Unique, now: int) -> int:
    """Return the instant until which the key holds whatever the state (0 = no such time)."""
    return now + unique.period_ms if unique.scope is Scope.PERIOD else 0


def holds(mask: int, until: int, holder: State | None, now: int) -> bool:
    """Tell whether a stored key still belongs to its holder.

    `mask` and `until` are those stored with the key, `holder` is the state of the job that took
    it (None: the record is gone), `now` is broker time.
    """
    return until > now or (holder is not None and bool(mask >> holder & 1))
