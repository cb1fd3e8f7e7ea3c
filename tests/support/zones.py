"""The time zones of the tz database, each once however many names it has, and when their clocks moved."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo, available_timezones

from msgspec import Struct

from treadle.domain.local_time import first_change, offset_s, wall_at

FIRST = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
LAST = int(datetime(2038, 1, 1, tzinfo=UTC).timestamp())

_FORTY = """
Africa/Cairo Africa/Casablanca Africa/El_Aaiun Africa/Johannesburg Africa/Khartoum Africa/Sao_Tome
America/Adak America/Argentina/Buenos_Aires America/Asuncion America/Bogota America/Caracas
America/Havana America/Mexico_City America/New_York America/Nuuk America/Santiago America/Sao_Paulo
America/Scoresbysund America/St_Johns Antarctica/Casey Antarctica/Troll Asia/Amman Asia/Beirut Asia/Gaza
Asia/Kathmandu Asia/Kolkata Asia/Pyongyang Asia/Tehran Asia/Tokyo Atlantic/Azores Australia/Lord_Howe
Australia/Sydney Europe/Berlin Europe/Dublin Europe/Istanbul Europe/London Pacific/Apia
Pacific/Chatham Pacific/Kiritimati UTC
"""
FORTY = tuple(_FORTY.split())
"""Of each kind one: shifts of 20 minutes to a day, at midnight and elsewhere, both hemispheres."""


class Move(Struct, frozen=True):
    """A clock that was moved at an instant, in seconds."""

    zone: ZoneInfo
    at: int
    before: int
    after: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return what it has in common with those of other years: the time of day, from and to."""
        return (self.at + self.before) % 86_400, self.before, self.after


def moves(zone: ZoneInfo, first: int = FIRST, last: int = LAST) -> Iterator[Move]:
    """Yield every change of the offset of a zone, in order."""
    at = first_change(zone, first, last)
    while at is not None:
        yield Move(zone, at, offset_s(zone, at - 1), offset_s(zone, at))
        at = first_change(zone, at, last)


def each_shape(zone: ZoneInfo) -> list[Move]:
    """Return the first move of each shape."""
    found: dict[tuple[int, int, int], Move] = {}
    for move in moves(zone):
        found.setdefault(move.shape, move)
    return list(found.values())


def _names() -> list[str]:
    """Return one name of all that have the same data."""
    found: dict[bytes, str] = {}
    for name in sorted(available_timezones() - {"localtime", "Factory"}):
        files = [file for folder in TZPATH if (file := Path(folder) / name).is_file()]
        found.setdefault(files[0].read_bytes() if files else name.encode(), name)
    return list(found.values())


@cache
def all_moves() -> tuple[Move, ...]:
    """Return every move of every zone once: zones that moved alike at one instant count as one."""
    found = {
        (move.at, move.before, move.after): move
        for name in _names()
        for move in moves(ZoneInfo(name))
    }
    return tuple(found[key] for key in sorted(found))


class Wall:
    """What the wall clock shows, minute by minute, around a move: found by looking, not by reckoning."""

    def __init__(self, move: Move) -> None:
        self.starts = (move.at // 60 - 40 * 60) * 60
        self.ends = (move.at // 60 + 52 * 60) * 60
        self.shown = [(at, wall_at(move.zone, at)) for at in range(self.starts, self.ends, 60)]
        self._days = sorted({wall.date() for _, wall in self.shown})
        self._first = {wall: at for at, wall in reversed(self.shown)}

    def interval(self, minutes: set[int], hours: set[int]) -> list[int]:
        """Return every instant at which it shows one of these times."""
        return [at for at, wall in self.shown if wall.minute in minutes and wall.hour in hours]

    def fixed(self, hour: int, minute: int) -> dict[date, int]:
        """Return for each whole date the first instant at which it shows this time, or a later one."""
        found: dict[date, int] = {}
        for day in self._days[1:-1]:
            asked = datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)
            asked = asked.replace(tzinfo=None)
            exact = self._first.get(asked)
            found[day] = exact or next(at for at, wall in self.shown if wall > asked)
        return found
