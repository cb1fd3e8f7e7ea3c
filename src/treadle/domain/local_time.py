"""Local time: what the clock on the wall of a time zone shows at an instant, and when it shows it.

Instants are whole seconds since the Unix epoch, wall times naive datetimes. Offsets and the hours
that do not exist or come twice are those of the tz database; nothing here knows a clock.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from treadle.errors import ConfigurationError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)
_DAY_S: Final = 86_400


def find_zone(name: str) -> ZoneInfo:
    """Return a time zone of the tz database.

    Raises:
        ConfigurationError: if it has none of that name; says which one was perhaps meant.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = get_close_matches(name, available_timezones(), 1)
        hint = f"Did you mean {near[0]!r}?" if near else "Give one like 'Europe/Berlin' or 'UTC'."
        raise ConfigurationError(f"time zone {name!r} is unknown. {hint}") from None


def offset_s(zone: ZoneInfo, at: int) -> int:
    """Return how far the wall clock is ahead of UTC at an instant."""
    return _whole(datetime.fromtimestamp(at, zone).utcoffset())


def wall_at(zone: ZoneInfo, at: int) -> datetime:
    """Return what the wall clock shows at an instant."""
    return datetime.fromtimestamp(at, zone).replace(tzinfo=None, fold=0)


def seconds_of(wall: datetime) -> int:
    """Return a wall time as seconds since the epoch of a clock that is never changed."""
    return _whole(wall - _EPOCH)


def wall_of(seconds: int) -> datetime:
    """Return the wall time that `seconds_of` gave."""
    return _EPOCH + timedelta(seconds=seconds)


def first_change(zone: ZoneInfo, after: int, until: int) -> int | None:
    """Return the first instant in (after, until] at which the clock was moved; None if there is none."""
    base = offset_s(zone, after)
    low = after
    while low < until:
        high = min(low + _DAY_S, until)  # no zone ever moved its clock twice within a day
        if offset_s(zone, high) != base:
            return _change(zone, low, high, base)
        low = high
    return None


def _change(zone: ZoneInfo, low: int, high: int, base: int) -> int:
    while high - low > 1:
        middle = (low + high) // 2
        if offset_s(zone, middle) == base:
            low = middle
        else:
            high = middle
    return high


class Gap:
    """Wall times that do not exist: the clock was moved from `starts` to `ends` at the instant `at`."""

    __slots__ = ("at", "ends", "starts")

    def __init__(self, at: int, starts: datetime, ends: datetime) -> None:
        self.at = at
        self.starts = starts
        self.ends = ends

    def swallows_day_of(self, wall: datetime) -> bool:
        """Tell whether the whole date of a wall time does not exist."""
        midnight = wall.replace(hour=0, minute=0, second=0)
        return self.starts <= midnight and midnight + timedelta(days=1) <= self.ends


def first_instant(zone: ZoneInfo, wall: datetime) -> int | Gap:
    """Return the first instant at which the clock shows a wall time, or the gap that it falls in."""
    local = wall.replace(tzinfo=zone, fold=0)
    before = _whole(local.utcoffset())
    at = seconds_of(wall) - before
    if wall_at(zone, at) == wall:
        return at
    after = _whole(local.replace(fold=1).utcoffset())
    change = first_change(zone, seconds_of(wall) - after, at)
    if change is None:
        raise AssertionError(f"{wall} does not exist in {zone.key}, and yet no clock was moved")
    return Gap(change, wall_of(change + before), wall_of(change + after))


def _whole(duration: timedelta | None) -> int:
    return 0 if duration is None else duration // timedelta(seconds=1)


class Oddity(StrEnum):
    """What is special about the local time of an instant."""

    AFTER_GAP = "after_gap"
    """The clock was moved forward to it."""
    FIRST = "first"
    """The clock shows it again later, because it will be moved back."""
    SECOND = "second"
    """The clock showed it before, and was moved back."""


def oddity(zone: ZoneInfo, at: int) -> Oddity | None:
    """Return what is special about an instant; of almost all nothing is."""
    if offset_s(zone, at) > offset_s(zone, at - 1):
        return Oddity.AFTER_GAP
    local = datetime.fromtimestamp(at, zone)
    if local.replace(fold=0).utcoffset() == local.replace(fold=1).utcoffset():
        return None
    return Oddity.SECOND if local.fold else Oddity.FIRST
