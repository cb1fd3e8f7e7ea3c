"""`qrun scheduler`: fire schedules in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from treadle.cli.call import Call, command
from treadle.cli.connect import reached, run
from treadle.cli.discovery import App, load_app
from treadle.cli.extensions import own_version
from treadle.cli.output import Output
from treadle.logs import configure
from treadle.runtime.clock import SystemClock
from treadle.runtime.scheduling import schedule_until_told


@command("scheduler")
@click.argument("app", metavar="[APP]", required=False)
@click.option("--log-format", metavar="FORMAT", help="console, json or logfmt.")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warn or error.")
def scheduler(call: Call, app: str | None, **options: str | None) -> None:
    """Enqueue the jobs of schedules when they are due, until told to stop; run none.

    Every worker does this too, and any number of schedulers fire each tick once: a process of its
    own is for deployments whose workers come and go. APP is found as by `qrun worker`.
    """
    call.flag("log.format", "log_format", options["log_format"])
    call.flag("log.level", "log_level", options["log_level"])
    settings = call.settings()
    configure(format=settings.log.format, level=settings.log.level, redact=settings.redact)
    found = load_app(settings, app, folder=Path.cwd(), say=call.output.note)

    async def main() -> None:
        await _greet(call.output, found)
        await schedule_until_told(found.jobs.broker, found.jobs.timetable, clock=SystemClock())

    run(main)


async def _greet(output: Output, app: App) -> None:
    """Connect once before work begins, and print the start screen.

    Raises:
        BrokerUnavailable, BrokerRefused: if the broker cannot or must not be used.
    """
    async with reached(app.jobs) as client:
        described = await (await client.broker()).describe()
    if output.quiet:
        return
    names = ", ".join(sorted(app.jobs.timetable)) or "none in the code; those stored are fired"
    for name, value in (
        ("treadle", own_version()),
        ("app", app.name),
        ("broker", f"{app.jobs.url} ({described.name} {described.version})"),
        ("schedules", f"{len(app.jobs.timetable)}: {names}"),
    ):
        output.line(f"{name:<9} {value}")
    sys.stdout.flush()
