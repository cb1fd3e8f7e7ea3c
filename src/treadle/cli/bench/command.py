"""`qrun bench`: the command."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
from msgspec import structs

from treadle.broker.url import parse
from treadle.cli.bench.measure import Bench, Measured
from treadle.cli.bench.raw import raw_for
from treadle.cli.call import Call, command, given
from treadle.cli.connect import run
from treadle.cli.failures import FAILED
from treadle.cli.place import fresh_place


@command("bench", reads=True)
@click.option(
    "--jobs", type=click.IntRange(min=1), default=20_000, help="How many jobs to enqueue."
)
def bench(call: Call, jobs: int) -> None:
    """Measure enqueueing and draining, each beside the raw loop of the same store.

    Works on a fresh SQLite file; with --url on a new one beside it, or in a namespace of its own.
    The raw loop does the least that a queue must do, without Treadle. `enqueue` has 100 calls
    awaiting at once. Ends with 1 if a job is missing at the end.
    """
    settings = call.settings()
    url = settings.url if given(call.ctx, "url") else None
    with fresh_place(url, "bench") as place:
        parsed = parse(place)
        beside = Path(parsed.path).parent if parsed.scheme == "sqlite" else None
        with tempfile.TemporaryDirectory(prefix="treadle-raw-", dir=beside) as folder:
            raw = raw_for(parsed, Path(folder))
            measured = run(Bench(structs.replace(settings, url=place), raw, jobs).run, fast=True)
    if call.output.as_json:
        call.output.objects(measured)
    else:
        columns = ("broker", "measure", "jobs", "seconds", "jobs/s", "cpu us", "raw/s", "ratio")
        call.output.table(columns, [_cells(row) for row in measured])
    if not all(row.complete for row in measured):
        call.ctx.exit(FAILED)


def _cells(row: Measured) -> list[str]:
    return [
        row.broker,
        row.measure,
        f"{row.jobs:,}",
        f"{row.seconds:.2f}",
        f"{row.jobs_per_second:,.0f}",
        f"{row.cpu_us_per_job:.1f}",
        "-" if row.raw_per_second is None else f"{row.raw_per_second:,.0f}",
        "-" if row.ratio is None else f"{row.ratio:.2f}",
    ]
