"""Schedules: values that say when something shall happen again and again, and the arithmetic of it.

The daylight-saving rule, for cron expressions in a time zone:

- A *fixed-time* schedule (no `*` in its seconds, minutes and hours: `30 2 * * *`) runs once for every
  local time that it names. One that does not exist that day, since the clock was moved forward
  over it, runs at the first instant after the gap; several in one gap run once. One that comes twice
  runs the first time. A date that a zone left out as a whole has no run.
- An *interval* schedule (`*/10 * * * *`, `0 * * * *`) runs at every instant at which the clock shows a
  time that fits: in an hour that comes twice also twice, in one that does not exist never. So time
  that elapses is neither skipped nor repeated.

`every` N ms does not look at a wall clock: its ticks are the multiples of N since the Unix epoch,
the same in every process. All instants are broker time in ms.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Final, assert_never

from msgspec import Meta, Struct

from treadle.domain.local_time import (
    find_zone,
    first_change,
    first_instant,
    offset_s,
    seconds_of,
    wall_at,
    wall_of,
)
from treadle.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zoneinfo import ZoneInfo

    from cronsim import CronSim

FLOOR_MS: Final = 1_000
LOOK_BACK_MS: Final = 60_000
MOST_LOOK_BACK_MS: Final = 3_600_000
PROMPT_MS: Final = 10_000
"""A tick that is no later than this was not missed."""

_FIRST_MS: Final = 946_684_800_000
"""The year 2000: from here on an expression must fire within 50 years."""
_LAST_S: Final = 250_000_000_000
"""Beyond the year 9800 nothing is computed."""
_LONGEST_MS: Final = 366 * 86_400_000
_ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class CatchUp(StrEnum):
    """What becomes of ticks that no scheduler was there to see; older than the look-back they are gone."""

    ALL = "all"
    """Each of them is fired."""
    ONCE = "once"
    """Only the latest is fired."""
    SKIP = "skip"
    """None is fired."""


class Cron(Struct, frozen=True, kw_only=True, tag="cron", omit_defaults=True):
    """When the clock of a time zone shows what a cron expression says."""

    expr: str
    tz: str = "UTC"


class Every(Struct, frozen=True, kw_only=True, tag="every", omit_defaults=True):
    """At each multiple of a period."""

    period_ms: int


When = Cron | Every


class Schedule(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When ticks are due, and how late they may still be fired."""

    when: When
    catch_up: CatchUp = CatchUp.ALL
    look_back_ms: Annotated[int, Meta(ge=0, le=MOST_LOOK_BACK_MS)] = LOOK_BACK_MS


def check(schedule: Schedule) -> None:
    """Refuse a schedule that cannot be used.

    Raises:
        ConfigurationError: for an expression that is none or never fires, an unknown zone, a period
            below 1 s, a look-back above 1 h; says what to write instead.
    """
    if not 0 <= schedule.look_back_ms <= MOST_LOOK_BACK_MS:
        raise ConfigurationError(
            f"look_back is at most 1 hour, got {schedule.look_back_ms / 1000:g} s: what was missed "
            "longer ago is better started by hand, with `qrun cron run`"
        )
    match schedule.when:
        case Every(period_ms=period):
            if not FLOOR_MS <= period <= _LONGEST_MS:
                raise ConfigurationError(
                    f"a period is 1 s to 366 days, got {period / 1000:g} s. What must happen more "
                    "often than each second is a loop in one job, not a schedule"
                )
        case Cron(expr=expr, tz=tz):
            find_zone(tz)
            _parsed(expr)
            if next_fire(schedule, _FIRST_MS) is None:
                raise ConfigurationError(f"cron expression {expr!r} never fires: change its date")
        case _:
            assert_never(schedule.when)


def next_fire(schedule: Schedule, after: int) -> int | None:
    """Return the first tick after an instant; None if there is none in the next 50 years."""
    match schedule.when:
        case Every(period_ms=period):
            return (after // period + 1) * period
        case Cron(expr=expr, tz=tz):
            start = after // 1000
            if start > _LAST_S:
                return None
            find = _next_fixed if is_fixed(expr) else _next_interval
            found = find(expr, find_zone(tz), start)
            return None if found is None else found * 1000
        case _:
            assert_never(schedule.when)


def fires(schedule: Schedule, after: int) -> Iterator[int]:
    """Yield the ticks after an instant, in order."""
    tick = next_fire(schedule, after)
    while tick is not None:
        yield tick
        tick = next_fire(schedule, tick)


def due_between(schedule: Schedule, after: int, now: int) -> tuple[int, ...]:
    """Return the ticks in (after, now] that shall be fired: those in reach of the look-back and the policy.

    A tick that is at most 10 s late, or within a shorter look-back, was not missed by anybody.
    """
    prompt = min(PROMPT_MS, schedule.look_back_ms)
    reach = prompt if schedule.catch_up is CatchUp.SKIP else schedule.look_back_ms
    found: list[int] = []
    for tick in fires(schedule, max(after, now - max(reach, FLOOR_MS) - 1)):
        if tick > now:
            break
        found.append(tick)
    if schedule.catch_up is CatchUp.ONCE:
        return tuple(tick for tick in found[:-1] if tick >= now - prompt) + tuple(found[-1:])
    return tuple(found)


def previous_fire(schedule: Schedule, now: int) -> int | None:
    """Return the last tick at or before an instant, if there was one in the 400 days before."""
    reach = 2_000
    while reach < 2 * _LONGEST_MS:
        last = None
        for tick in fires(schedule, now - reach):
            if tick > now:
                break
            last = tick
        if last is not None:
            return last
        reach *= 8
    return None


def is_fixed(expr: str) -> bool:
    """Tell whether an expression names times of day; else it says how often."""
    fields = _ALIASES.get(expr.strip().lower(), expr).split()
    return not any("*" in field for field in fields[: len(fields) - 3])


def explain(schedule: Schedule) -> str:
    """Say in plain words when a schedule fires.

    Raises:
        ConfigurationError: if it is no cron expression.
    """
    match schedule.when:
        case Every(period_ms=period):
            return f"Every {written(period)}"
        case Cron(expr=expr):
            return _parsed(expr).explain()
        case _:
            assert_never(schedule.when)


def written(period_ms: int) -> str:
    """Write a period in its largest whole unit."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if period_ms % size == 0:
            return f"{period_ms // size} {unit}"
    return f"{period_ms / 1000:g} s"


def _next_interval(expr: str, zone: ZoneInfo, after: int) -> int | None:
    start = after + 1
    while start <= _LAST_S:
        offset = offset_s(zone, start)
        wall = _match(expr, wall_of(start + offset))
        if wall is None:
            return None
        found = seconds_of(wall) - offset
        # A clock that is moved before then shows other times: look again from there.
        change = first_change(zone, start, found)
        if change is None:
            return found
        start = change
    return None


def _next_fixed(expr: str, zone: ZoneInfo, after: int) -> int | None:
    second = timedelta(seconds=1)
    wall = _match(expr, wall_at(zone, after) + second)
    while wall is not None:
        found = first_instant(zone, wall)
        if not isinstance(found, int):
            if found.at > after and not found.swallows_day_of(wall):
                return found.at
            wall = _match(expr, max(found.ends, wall + second))
        elif found > after:
            return found
        else:
            # The hour that comes twice: it ran the first time. Go on where the clock was moved back.
            moved = first_change(zone, found, after)
            behind = wall if moved is None else wall_of(moved - 1 + offset_s(zone, moved - 1))
            wall = _match(expr, max(behind, wall) + second)
    return None


def _match(expr: str, start: datetime) -> datetime | None:
    """Return the first wall time at or after `start` that fits; None within 50 years."""
    parsed = _parsed(expr)
    simulation = type(parsed).__new__(type(parsed))  # parsing again would cost more than the search
    vars(simulation).update(vars(parsed))
    simulation.dt = start.replace(microsecond=0) - timedelta(seconds=1)
    return next(simulation, None)


@lru_cache(maxsize=256)
def _parsed(expr: str) -> CronSim:
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 - only who has schedules needs it

    text = _ALIASES.get(expr.strip().lower(), expr)
    if expr.startswith("@") and text is expr:
        raise ConfigurationError(f"{expr!r} is none of {', '.join(_ALIASES)}")
    fields = text.split()
    if len(fields) not in (5, 6):
        raise ConfigurationError(
            f"a cron expression has five fields, minute hour day month weekday, or six with "
            f"seconds in front, got {expr!r}"
        )
    start = wall_of(_FIRST_MS // 1000)
    try:
        return CronSim(text, start)
    except CronSimError as error:
        problem = str(error).removeprefix("Bad ")
        names = ("second", "minute", "hour", "day-of-month", "month", "day-of-week")[-len(fields) :]
        raise ConfigurationError(
            _refusal(expr, problem, dict(zip(names, fields, strict=True)))
        ) from None


def _refusal(expr: str, problem: str, fields: dict[str, str]) -> str:
    value = fields.get(problem, "")
    if problem == "day-of-month" and all(
        part.isdigit() and 29 < int(part) < 32 for part in value.split(",")
    ):
        return (
            f"cron expression {expr!r} never fires: no month that it names has a day {value}. "
            "Name another month or day; the last day of a month is L"
        )
    return (
        f"cron expression {expr!r}: {value!r} is no {problem}. Fields: minute 0-59, hour 0-23, "
        "day-of-month 1-31 or L, month 1-12 or JAN-DEC, day-of-week 0-7 or SUN-SAT; lists 1,2, "
        "ranges 1-5, steps */10"
    )
