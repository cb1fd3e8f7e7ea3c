"""How users write time, and the integers of milliseconds that the domain takes.

A positive duration never becomes 0 ms (which would mean "none"), and an instant is never early:
both are rounded up.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from treadle.domain.job import NEVER, After, At
from treadle.errors import ConfigurationError

Duration = float | timedelta
"""Seconds, or a timedelta."""

Moment = float | timedelta | datetime
"""A duration from now, or an aware datetime."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_LONGEST_S = 100 * 366 * 86_400


def to_ms(value: Duration, what: str) -> int:
    """Return a duration in ms, rounded up.

    Raises:
        ConfigurationError: if it is negative, not finite, longer than a century, or no duration.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if type(seconds) not in (int, float):
        raise ConfigurationError(
            f"{what} must be seconds or a timedelta, got {type(value).__name__}"
        )
    if not 0 <= seconds <= _LONGEST_S:
        raise ConfigurationError(f"{what} must be between 0 and 100 years, got {value!r}")
    # Rounded to a nanosecond first, or 0.07 s would be 71 ms.
    return max(math.ceil(round(seconds * 1000, 6)), seconds > 0)


def to_instant(value: datetime, what: str) -> At:
    """Return an aware datetime as an instant of broker time; one in the past means now.

    Raises:
        ConfigurationError: if it has no time zone.
    """
    if value.tzinfo is None or value.utcoffset() is None:
        raise ConfigurationError(
            f"{what} must have a time zone, got {value!r}. For example datetime.now(tz=UTC) + ..."
        )
    return At(min(max(-((_EPOCH - value) // _MS), 0), NEVER))


def to_due(value: Moment, what: str) -> After | At:
    """Return a duration from now, or an aware datetime, as the domain writes it."""
    if isinstance(value, datetime):
        return to_instant(value, what)
    return After(to_ms(value, what))
