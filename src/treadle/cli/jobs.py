"""`qrun jobs`: list, show, retry, cancel and delete jobs in any state."""

from __future__ import annotations

from collections.abc import Iterable

import click

from treadle.broker.base import Filter, Order
from treadle.cli.acting import perform
from treadle.cli.bulk import operator
from treadle.cli.call import Call, command
from treadle.cli.reading import list_jobs, show_jobs
from treadle.cli.selecting import Selected, filtered, selecting
from treadle.domain.outcome import CancelAsked, DiscardAsked, RetryAsked
from treadle.domain.state import Shown

limit_option = click.option(
    "--limit", type=click.IntRange(min=0), default=50, help="Show at most this many; 0 = all."
)
oldest_option = click.option("--oldest", is_flag=True, help="Show the oldest first.")
ids_argument = click.argument("ids", nargs=-1, required=True, metavar="ID...")
queue_option = click.option(
    "--queue", metavar="NAME", default="", help="The queue of the jobs, if you know it."
)


@command("list", reads=True)
@filtered()
@limit_option
@oldest_option
def list_(call: Call, filter: Filter, limit: int, oldest: bool) -> None:
    """List jobs, the newest first."""
    list_jobs(call, filter, limit=limit, order=Order.OLDEST if oldest else Order.NEWEST)


@command("show", reads=True)
@ids_argument
@queue_option
def show(call: Call, ids: tuple[str, ...], queue: str) -> None:
    """Show all that is known about jobs: payload, result, history, logs, progress."""
    show_jobs(call, ids, queue)


@command("retry", reads=True)
@selecting(default=Shown.DEAD)
def retry(call: Call, selected: Selected, dry_run: bool) -> None:
    """Run final jobs again; a filter without --state means the dead ones."""
    perform(call, selected, RetryAsked(by=operator()), done="retried", dry_run=dry_run)


@command("cancel", reads=True)
@selecting()
def cancel(call: Call, selected: Selected, dry_run: bool) -> None:
    """Cancel jobs that are not final; running ones are asked to stop."""
    perform(call, selected, CancelAsked(by=operator()), done="cancelled", dry_run=dry_run)


@command("delete", reads=True)
@selecting()
def delete(call: Call, selected: Selected, dry_run: bool) -> None:
    """Remove the records of final jobs; others are skipped."""
    perform(call, selected, DiscardAsked(by=operator()), done="deleted", dry_run=dry_run)


def group(name: str, help: str, commands: Iterable[click.Command]) -> click.Group:
    """Make a group of commands."""
    made = click.Group(name, help=help)
    for member in commands:
        made.add_command(member)
    return made


jobs = group(
    "jobs", "List, show, retry, cancel and delete jobs.", [list_, show, retry, cancel, delete]
)
