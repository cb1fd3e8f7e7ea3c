"""`qrun cron`: list and explain schedules; run, pause, resume and remove them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from msgspec import structs

from treadle.broker.base import Broker
from treadle.cli.bulk import operator
from treadle.cli.call import Call, command, group
from treadle.cli.connect import asking, run
from treadle.cli.cron_views import (
    TickView,
    cron_view,
    odd_ticks,
    rule_of,
    state_of,
    text_of,
    ticks,
)
from treadle.cli.discovery import find_app
from treadle.domain.cron import Cron, Schedule, check, previous_fire
from treadle.domain.cron import explain as explained
from treadle.domain.job import Record, Ref
from treadle.domain.state import shown
from treadle.domain.timetable import tick_id
from treadle.runtime.client import Client
from treadle.runtime.clock import SystemClock
from treadle.runtime.schedules import Listed, Schedules

_COLUMNS = ("name", "schedule", "zone", "state", "next", "last", "ended")
_app = click.option(
    "--app", metavar="MODULE:ATTR", envvar="QRUN_APP", help="The app that declares schedules."
)
_count = click.option("--count", type=click.IntRange(1, 1_000), default=5, help="How many ticks.")
_after = click.option("--after", metavar="TIME", help="Begin there, not now: 2027-03-14T00:00Z.")


@asynccontextmanager
async def _timetable(call: Call, app: str | None) -> AsyncGenerator[tuple[Client, Schedules]]:
    """Connect to the timetable of the app that is found; without one only what is stored is known."""
    call.flag("app", "app", app)
    found = find_app(call.settings(), None, folder=Path.cwd())
    if found is None:
        call.output.note("No app here: only what is stored is known, and orphans are not told.")
    async with asking(call, None if found is None else found.jobs) as client:
        if found is None:
            yield client, Schedules(client.broker)
        else:
            yield client, found.jobs.schedules


@command("list", reads=True)
@_app
def list_(call: Call, app: str | None) -> None:
    """List every schedule: those of the code, those stored, and orphans that the code lost.

    ENDED is the state of the job of the last tick, if it is still kept.
    """

    async def main() -> None:
        async with _timetable(call, app) as (client, schedules):
            broker = await client.broker()
            now = (await broker.stats()).now
            every = await schedules.list()
            last = [previous_fire(one.entry.schedule, now) for one in every]
            ended = await _ended(broker, every, last, now)
        views = [cron_view(*row, *end) for row, end in _zipped(every, now, last, ended)]
        if call.output.as_json:
            call.output.objects(views)
        elif views:
            call.output.table(
                _COLUMNS,
                [
                    [
                        *(view.name, view.schedule, view.tz or "", view.state),
                        *(view.next or "", view.last or "", view.last_state or ""),
                    ]
                    for view in views
                ],
            )
        else:
            call.output.note("No schedules: declare one with @jobs.cron(...) or @jobs.every(...).")

    run(main)


def _zipped(
    every: Sequence[Listed],
    now: int,
    last: Sequence[int | None],
    ended: Sequence[str | None],
) -> list[tuple[tuple[Listed, int], tuple[int | None, str | None]]]:
    rows = zip(every, last, ended, strict=True)
    return [((one, now), (tick, state)) for one, tick, state in rows]


def _state(record: Record, now: int) -> str:
    head = record.head
    return shown(head.state, due=head.due, attempt=head.attempt, now=now).value


async def _ended(
    broker: Broker, every: Sequence[Listed], last: Sequence[int | None], now: int
) -> list[str | None]:
    refs = [
        Ref(one.entry.job.queue, tick_id(one.entry.name, tick or 0))
        for one, tick in zip(every, last, strict=True)
    ]
    records = await broker.get(refs)
    return [
        None if record is None or record.forgotten else _state(record, now) for record in records
    ]


@command("next", reads=True)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_count
@_after
@_app
def next_(
    call: Call, names: tuple[str, ...], count: int, after: str | None, app: str | None
) -> None:
    """Show the next ticks of schedules, in local time, with what clocks do to them."""

    async def main() -> None:
        async with _timetable(call, app) as (client, schedules):
            start = _instant(after) or (await (await client.broker()).stats()).now
            every = [await schedules.get(name) for name in names] or await schedules.list()
        silent = [one for one in every if state_of(one) in {"paused", "orphan"}]
        for one in silent:
            call.output.note(f"{one.entry.name} is {state_of(one)}: it fires nothing.")
        _write_ticks(
            call,
            [
                tick
                for one in every
                if one not in silent
                for tick in ticks(one.entry.schedule, start, count, one.entry.name)
            ],
        )

    run(main)


def _write_ticks(call: Call, views: Sequence[TickView]) -> None:
    if call.output.as_json:
        call.output.objects(views)
    elif views:
        rows = [[view.name or "", view.local, view.at, view.note] for view in views]
        call.output.table(("name", "local", "utc", "note"), rows)


@command("explain", reads=True)
@click.argument("expr")
@click.option("--tz", default="UTC", metavar="ZONE", help="The time zone of its clock.")
@_count
@_after
def explain(call: Call, expr: str, tz: str, count: int, after: str | None) -> None:
    """Say in words when a cron expression fires, and what happens when clocks are moved.

    EXPR has five fields, minute hour day month weekday, or six with seconds in front.
    """
    schedule = Schedule(when=Cron(expr=expr, tz=tz))
    check(schedule)
    start = _instant(after) or SystemClock().time_ms()
    upcoming = ticks(schedule, start, count)
    odd = list(odd_ticks(schedule, start))
    if call.output.as_json:
        call.output.objects(
            [
                {
                    "expr": expr,
                    "tz": tz,
                    "text": explained(schedule),
                    "rule": rule_of(schedule.when),
                    "next": [_plain(view) for view in upcoming],
                    "moved": [_plain(view) for view in odd],
                }
            ]
        )
        return
    call.output.line(f"{explained(schedule)}, {tz}")
    call.output.line(rule_of(schedule.when))
    for title, views in (("Next:", upcoming), ("When clocks are moved:", odd)):
        if views:
            call.output.line("")
            call.output.line(title)
        for view in views:
            note = f"  {view.note}" if view.note else ""
            call.output.line(f"  {view.local:<30} {view.at}{note}")


def _plain(view: TickView) -> dict[str, object]:
    shown_ = structs.asdict(view)
    del shown_["name"]
    return shown_


@command("run", reads=True)
@click.argument("name", metavar="NAME")
@_app
def run_(call: Call, name: str, app: str | None) -> None:
    """Enqueue the job of a schedule now, whether it is paused or not; its ticks go on as they are."""

    async def main() -> None:
        async with _timetable(call, app) as (client, schedules):
            job = await schedules.job(name)
            await client.enqueue([job])
        if call.output.as_json:
            call.output.objects([{"id": job.id, "queue": job.queue, "type": job.type}])
        else:
            call.output.line(job.id)

    run(main)


_names = click.argument("names", nargs=-1, required=True, metavar="NAME...")


@command("pause")
@_names
@_app
def pause(call: Call, names: tuple[str, ...], app: str | None) -> None:
    """Fire no ticks of schedules until they are resumed; jobs that exist go on."""

    async def main() -> None:
        async with _timetable(call, app) as (_, schedules):
            for name in names:
                entry = await schedules.pause(name, by=operator())
                call.output.note(f"{name}: paused ({text_of(entry.schedule.when)})")

    run(main)


@command("resume")
@_names
@_app
def resume(call: Call, names: tuple[str, ...], app: str | None) -> None:
    """Fire the ticks of schedules again, from now on: nothing is caught up."""

    async def main() -> None:
        async with _timetable(call, app) as (_, schedules):
            for name in names:
                entry = await schedules.resume(name)
                call.output.note(f"{name}: resumed ({text_of(entry.schedule.when)})")

    run(main)


@command("remove")
@_names
@_app
def remove(call: Call, names: tuple[str, ...], app: str | None) -> None:
    """Remove stored schedules and orphans; what the code declares comes back with its next start."""

    async def main() -> None:
        async with _timetable(call, app) as (_, schedules):
            for name in names:
                await schedules.remove(name)
                call.output.note(f"{name}: removed")

    run(main)


def _instant(text: str | None) -> int | None:
    """Read an instant of a command line; without an offset it is UTC.

    Raises:
        click.UsageError: if it is none.
    """
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(
            f"--after: {text!r} is no instant. Write one like 2027-03-14T00:00Z."
        ) from None
    aware = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return int(aware.timestamp() * 1000)


cron = group(
    "cron",
    "List and explain schedules; run, pause, resume and remove them.",
    [list_, next_, explain, run_, pause, resume, remove],
)
