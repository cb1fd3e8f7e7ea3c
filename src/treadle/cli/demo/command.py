"""`qrun demo`: the command."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from msgspec import structs

from treadle.app import Jobs
from treadle.broker.url import parse
from treadle.cli.call import Call, command, given
from treadle.cli.connect import reached, run
from treadle.cli.demo.figures import Figures
from treadle.cli.demo.fleet import Fleet
from treadle.cli.demo.profiles import PROFILES, Profile
from treadle.cli.demo.run import Run
from treadle.cli.failures import FAILED
from treadle.cli.place import fresh_place
from treadle.settings import Settings


@command("demo", reads=True)
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    default="examples",
    help="examples: 2,000 short jobs of ten types; pool: emails, notifications and reports of some "
    "seconds each, with random failures.",
)
def demo(call: Call, profile: str) -> None:
    """Run many jobs on two workers, kill one of them half-way, and account for every job.

    Works on a fresh SQLite file; with --url on a new one beside it, or in a namespace of its own.
    Removes everything at the end. Ends with 1 if a job is lost.
    """
    settings = call.settings()
    url = settings.url if given(call.ctx, "url") else None
    if url is not None and parse(url).scheme == "memory":
        raise click.UsageError("memory:// lives in one process; the demo runs several.")
    with _ended_by_sigterm(), fresh_place(url, "demo") as place:
        found = _run(call, structs.replace(settings, url=place), PROFILES[profile])
    _write(call, found)
    if found.lost or found.run_twice or found.recovered < 1:
        call.ctx.exit(FAILED)


def _run(call: Call, settings: Settings, profile: Profile) -> Figures:
    jobs = profile.plan()
    types = len({job.type for job in jobs})
    call.output.note(
        f"Enqueueing {len(jobs):,} jobs of {types} types for {profile.processes} workers; "
        "half-way one of them is killed with SIGKILL ..."
    )

    with (
        tempfile.TemporaryDirectory(prefix="treadle-log-") as logs,
        call.output.progress("demo") as bar,
        Fleet(
            profile.app,
            settings.url,
            processes=profile.processes,
            concurrency=profile.concurrency,
            log=Path(logs) / "log",
        ) as fleet,
    ):

        async def main() -> Figures:
            async with reached(Jobs(settings=settings)) as client:
                return await Run(client, await client.broker(), fleet, bar).complete(jobs)

        return run(main)
    raise AssertionError("unreachable: no block of the demo swallows errors")


@contextmanager
def _ended_by_sigterm() -> Generator[None]:
    """Clean up also when the demo is terminated."""

    def end(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _write(call: Call, found: Figures) -> None:
    if call.output.as_json:
        call.output.objects([found])
        return
    rows = [
        ["enqueued", f"{found.enqueued:,}"],
        ["succeeded", f"{found.succeeded:,}"],
        ["dead", f"{found.dead:,}"],
        ["retried", f"{found.retried:,}"],
        ["recovered", f"{found.recovered:,} (held by the killed worker, then run again)"],
        ["lost", f"{found.lost:,}"],
        ["jobs/s", f"{found.jobs_per_second:,.0f}"],
        ["wait p50 / p99", f"{found.wait_p50_ms} / {found.wait_p99_ms} ms"],
    ]
    call.output.table(("what", "how many"), rows)
    same = found.enqueued == found.succeeded + found.dead
    call.output.note(
        f"enqueued = succeeded + dead: {'yes' if same else 'NO'}. "
        "Next: write jobs.py, then `qrun dev`."
    )
