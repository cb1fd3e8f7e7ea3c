"""What people and programs see of a schedule and of its ticks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from msgspec import Struct

from treadle.cli.views import instant
from treadle.domain.cron import Cron, Schedule, When, fires, is_fixed, written
from treadle.domain.local_time import Oddity, find_zone, first_change, oddity
from treadle.domain.timetable import next_tick
from treadle.runtime.schedules import Listed

_NEAR_MS = 3 * 3_600_000
_YEAR_S = 366 * 86_400
_MOST_MOVES = 2
_MOST_NEAR = 4
_NOTES = {
    Oddity.AFTER_GAP: "the clock is moved forward to this time",
    Oddity.FIRST: "the first of two such times",
    Oddity.SECOND: "the second of two such times",
    None: "",
}
FIXED = (
    "Fixed time: once for each local time. One that the clock skips runs right after the gap, one that "
    "comes twice runs the first time."
)
INTERVAL = (
    "Interval: whenever the clock shows a time that fits, also twice in an hour that comes twice; "
    "time that elapses is neither skipped nor repeated."
)
PERIOD = "Period: multiples of it since 1970, whatever clocks show."


class TickView(Struct, frozen=True, kw_only=True):
    """One tick: ISO 8601 in UTC, what the clock of its zone shows, and what is special about that."""

    name: str | None = None
    at: str
    local: str
    note: str


class CronView(Struct, frozen=True, kw_only=True):
    """One schedule. Instants are ISO 8601 in UTC by the broker's clock."""

    name: str
    state: str
    """`active`, `paused`, `orphan` if the code has it no more, or `new` if no scheduler ran yet."""
    schedule: str
    tz: str | None
    catch_up: str
    look_back_ms: int
    origin: str
    type: str
    queue: str
    next: str | None
    last: str | None
    last_state: str | None
    paused: str | None
    by: str | None


def cron_view(listed: Listed, now: int, last: int | None, last_state: str | None) -> CronView:
    """Show one entry of the timetable."""
    entry = listed.entry
    when = entry.schedule.when
    upcoming = None if listed.orphan else next_tick(entry, now)
    return CronView(
        name=entry.name,
        state=state_of(listed),
        schedule=text_of(when),
        tz=when.tz if isinstance(when, Cron) else None,
        catch_up=entry.schedule.catch_up.value,
        look_back_ms=entry.schedule.look_back_ms,
        origin=entry.origin.value,
        type=entry.job.type,
        queue=entry.job.queue,
        next=None if upcoming is None else instant(upcoming),
        last=None if last is None or last_state is None else instant(last),
        last_state=last_state,
        paused=instant(entry.paused) if entry.paused else None,
        by=entry.by or None,
    )


def state_of(listed: Listed) -> str:
    """Say in one word whether an entry is in force."""
    if listed.orphan:
        return "orphan"
    if listed.entry.paused:
        return "paused"
    return "active" if listed.stored else "new"


def text_of(when: When) -> str:
    """Write when a schedule fires on one line."""
    return when.expr if isinstance(when, Cron) else f"every {written(when.period_ms)}"


def rule_of(when: When) -> str:
    """Say which rule holds on the days on which clocks are moved."""
    if not isinstance(when, Cron):
        return PERIOD
    return FIXED if is_fixed(when.expr) else INTERVAL


def ticks(schedule: Schedule, after: int, count: int, name: str | None = None) -> list[TickView]:
    """Show the next ticks after an instant."""
    zone = _zone(schedule)
    return [_tick(tick, zone, name) for tick in islice(fires(schedule, after), count)]


def odd_ticks(schedule: Schedule, after: int) -> Iterator[TickView]:
    """Yield the ticks that the next moves of the clock make special, a few of each."""
    zone = _zone(schedule)
    start, end = after // 1000, after // 1000 + _YEAR_S
    change = first_change(zone, start, end)
    for _ in range(_MOST_MOVES):
        if change is None:
            return
        near = takewhile(
            lambda tick, at=change * 1000: tick < at + _NEAR_MS,  # type: ignore[misc]
            fires(schedule, max(after, change * 1000 - _NEAR_MS)),
        )
        odd = (tick for tick in near if oddity(zone, tick // 1000) is not None)
        for tick in islice(odd, _MOST_NEAR):
            yield _tick(tick, zone, None)
        change = first_change(zone, change, end)


def _zone(schedule: Schedule) -> ZoneInfo:
    return find_zone(schedule.when.tz if isinstance(schedule.when, Cron) else "UTC")


def _tick(tick: int, zone: ZoneInfo, name: str | None) -> TickView:
    local = datetime.fromtimestamp(tick / 1000, zone)
    utc = local.astimezone(UTC).replace(tzinfo=None)
    return TickView(
        name=name,
        at=f"{utc.isoformat(timespec='seconds' if tick % 1000 == 0 else 'milliseconds')}Z",
        local=f"{local:%a %Y-%m-%d %H:%M:%S %Z}",
        note=_NOTES[oddity(zone, tick // 1000)],
    )
