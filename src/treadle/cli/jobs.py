"""`qrun jobs`: list, show, retry, cancel and delete jobs in any state."""

from __future__ import annotations

from treadle.broker.base import Filter, Order
from treadle.cli.acting import perform
from treadle.cli.bulk import operator
from treadle.cli.call import Call, command, group
from treadle.cli.reading import list_jobs, show_jobs
from treadle.cli.selecting import Selected, listing, naming, selecting
from treadle.domain.outcome import CancelAsked, DiscardAsked, RetryAsked
from treadle.domain.state import Shown


@command("list", reads=True)
@listing()
def list_(call: Call, filter: Filter, limit: int, order: Order) -> None:
    """List jobs, the newest first."""
    list_jobs(call, filter, limit=limit, order=order)


@command("show", reads=True)
@naming
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


jobs = group(
    "jobs", "List, show, retry, cancel and delete jobs.", [list_, show, retry, cancel, delete]
)
