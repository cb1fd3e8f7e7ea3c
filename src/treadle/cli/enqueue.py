"""`qrun enqueue`: one job, or those of a file; all are checked before the first is sent."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import IO, Any

import click
from msgspec import Struct

from treadle.app import Jobs
from treadle.cli.call import Call, command
from treadle.cli.connect import asking, run
from treadle.cli.discovery import find_app
from treadle.cli.failures import USAGE
from treadle.cli.lines import Bad, Good, batches, opened, read
from treadle.cli.making import Maker
from treadle.cli.selecting import PRIORITIES
from treadle.domain.job import Job
from treadle.errors import NotAccepted, TreadleError
from treadle.logs import escape
from treadle.runtime.client import Client
from treadle.runtime.handle import Job as Handle

_BATCH = 1_000
_MOST_SHOWN = 20


class Sent(Struct, kw_only=True):
    """What became of the lines of a file."""

    enqueued: int = 0
    known: int = 0
    """There already, under the same id or unique key."""
    unsure: int = 0
    """Stored, but a reply was lost: enqueued now, or there already with the same content."""
    skipped: int = 0
    refused: int = 0

    @property
    def stored(self) -> int:
        """Count the jobs that the broker has now."""
        return self.enqueued + self.known + self.unsure

    def count(self, is_new: bool | None) -> None:
        """Count a job that the broker has."""
        match is_new:
            case True:
                self.enqueued += 1
            case False:
                self.known += 1
            case None:
                self.unsure += 1


@command("enqueue", reads=True)
@click.argument("type", metavar="[TYPE]", required=False)
@click.option("--payload", metavar="JSON", help="The arguments as a JSON object; {} by default.")
@click.option("--file", metavar="FILE", help="A file of jobs, one object a line; - is stdin.")
@click.option("--queue", metavar="NAME", help="The queue, if not the handler's.")
@click.option("--priority", type=click.Choice(PRIORITIES), help="If not the handler's.")
@click.option("--delay", metavar="TIME", help="Not before this time from now: 30, 5m, 1h30m.")
@click.option("--unique", metavar="KEY", help="At most one unfinished job with this key.")
@click.option("--id", metavar="ID", help="The job's own id: enqueueing twice stores once.")
@click.option(
    "--app", metavar="MODULE:ATTR", envvar="QRUN_APP", help="The app that knows the types."
)
@click.option("--skip-bad", is_flag=True, help="Enqueue the good lines of a file, report the bad.")
def enqueue(
    call: Call,
    type: str | None,
    file: str | None,
    app: str | None,
    payload: str | None,
    id: str | None,
    skip_bad: bool,
    **options: Any,
) -> None:
    """Enqueue a job of TYPE, or the jobs of a file.

    A line of a file is {"type", "payload"} and, if wanted, "id", "queue", "priority", "delay"
    and "unique". If one line is bad, nothing is enqueued.
    """
    if (type is None) == (file is None):
        raise click.UsageError("Give either a TYPE or --file.")
    maker = _maker(call, app)
    if type is not None:
        if skip_bad:
            raise click.UsageError("--skip-bad goes with --file.")
        text = "{}" if payload is None else payload
        job = maker.job(type, text.encode(errors="surrogateescape"), id=id, **options)
        _enqueue_one(call, maker, job, named=id is not None)
    elif file is not None:
        if payload is not None or id is not None or any(options.values()):
            raise click.UsageError("With --file each line says its own payload, id and options.")
        _enqueue_file(call, maker, file, skip_bad=skip_bad)


def _maker(call: Call, app: str | None) -> Maker:
    call.flag("app", "app", app)
    settings = call.settings()
    found = find_app(settings, None, folder=Path.cwd())
    if found is None:
        call.output.note(
            "No app here (--app): types and payloads are not checked, and no handler's options hold."
        )
        return Maker(Jobs(settings=settings), typed=False)
    if found.origin.endswith(".py"):
        call.output.note(f"Using {found.name} (found in {found.origin}).")
    return Maker(found.jobs, typed=True)


def _enqueue_one(call: Call, maker: Maker, job: Job, *, named: bool) -> None:
    async def main() -> None:
        async with asking(call, maker.jobs) as client:
            (handle,) = await client.enqueue([job])
        is_new = _is_new(job, handle, named=named)
        if call.output.as_json:
            answer = {"id": handle.id, "type": handle.type, "queue": handle.queue, "new": is_new}
            call.output.objects([answer])
            return
        call.output.line(handle.id)
        if is_new is None:
            call.output.note(
                "It is stored, once. A reply was lost: whether this call stored it or it was there "
                "already, with the same content, cannot be known."
            )
        elif not is_new:
            call.output.note("It was there already: nothing new was enqueued.")

    run(main)


def _enqueue_file(call: Call, maker: Maker, path: str, *, skip_bad: bool) -> None:
    with opened(path) as file:
        total, bad = _check(file, maker)
        _report(bad)
        if bad and not skip_bad:
            call.output.note("Nothing was enqueued. --skip-bad enqueues the good lines.")
            call.ctx.exit(USAGE)
        sent = Sent(skipped=len(bad))
        try:
            run(lambda: _send(call, file, maker, total, sent))
        except (TreadleError, KeyboardInterrupt) as error:
            if sent.stored:  # who ends it half-way must know that some are there
                _write(call, sent)
            if isinstance(error, KeyboardInterrupt):
                call.output.note(
                    f"Interrupted: up to {_BATCH:,} more, those under way, may be enqueued as well."
                )
            raise
        _write(call, sent)


def _check(file: IO[bytes], maker: Maker) -> tuple[int, list[Bad]]:
    total, bad = 0, list[Bad]()
    for item in read(file, maker.of_line):
        if isinstance(item, Bad):
            bad.append(item)
        else:
            total += 1
    return total, bad


def _report(bad: list[Bad]) -> None:
    for item in islice(bad, _MOST_SHOWN):
        click.echo(f"Error: {escape(str(item))}", err=True)
    if len(bad) > _MOST_SHOWN:
        click.echo(f"... and {len(bad) - _MOST_SHOWN} more bad lines", err=True)


async def _send(call: Call, file: IO[bytes], maker: Maker, total: int, sent: Sent) -> None:
    first: TreadleError | None = None
    async with asking(call, maker.jobs) as client:
        with call.output.progress("jobs") as bar:
            for lines in batches(file, maker.of_line, _BATCH):
                refused = await _offer(client, lines, sent)
                first = first or refused
                bar.update(sent.stored + sent.refused, total)

    if first is not None:
        raise first


async def _offer(client: Client, lines: list[Good], sent: Sent) -> NotAccepted | None:
    """Enqueue one batch; return why its first refused job was refused.

    Raises:
        Uncertain: if the batch may or may not be stored.
    """
    first: NotAccepted | None = None
    answers = await client.offer([line.job for line in lines])
    for line, answer in zip(lines, answers, strict=True):
        if isinstance(answer, NotAccepted):
            sent.refused += 1
            first = first or answer
        else:
            sent.count(_is_new(line.job, answer, named=line.named))
    return first


def _is_new(job: Job, handle: Handle[Any], *, named: bool) -> bool | None:
    """Tell whether this call stored a job; None if that cannot be known.

    An id that was made here is nobody else's: a job of that id is ours, whatever got lost on the way.
    """
    return True if not named and handle.id == job.id else handle.is_new


def _write(call: Call, sent: Sent) -> None:
    if call.output.as_json:
        call.output.objects([sent])
        return
    known = f", there already {sent.known}" if sent.known else ""
    unsure = f", stored now or before {sent.unsure} (a reply was lost)" if sent.unsure else ""
    skipped = f", skipped {sent.skipped}" if sent.skipped else ""
    refused = f", refused {sent.refused}" if sent.refused else ""
    call.output.line(f"enqueued {sent.enqueued}{known}{unsure}{skipped}{refused}")
