"""`qrun dead`: the dead letters, which are the jobs in state `dead`."""

from __future__ import annotations

from treadle.broker.base import Filter, Order
from treadle.cli.acting import perform
from treadle.cli.bulk import operator
from treadle.cli.call import Call, command, group
from treadle.cli.reading import list_jobs, show_jobs
from treadle.cli.selecting import Selected, listing, naming, selecting
from treadle.domain.outcome import DiscardAsked, RetryAsked
from treadle.domain.state import Shown


@command("list", reads=True)
@listing(state=Shown.DEAD)
def list_(call: Call, filter: Filter, limit: int, order: Order) -> None:
    """List dead letters, the newest first."""
    list_jobs(call, filter, limit=limit, order=order)


@command("show", reads=True)
@naming
def show(call: Call, ids: tuple[str, ...], queue: str) -> None:
    """Show all that is known about dead letters, the last traceback too."""
    show_jobs(call, ids, queue)


@command("retry", reads=True)
@selecting(state=Shown.DEAD)
def retry(call: Call, selected: Selected, dry_run: bool) -> None:
    """Run dead letters again: a new run, with all its attempts."""
    perform(call, selected, RetryAsked(by=operator()), done="retried", dry_run=dry_run)


@command("discard", reads=True)
@selecting(state=Shown.DEAD)
def discard(call: Call, selected: Selected, dry_run: bool) -> None:
    """Remove dead letters for good; their ids are remembered for a while."""
    perform(call, selected, DiscardAsked(by=operator()), done="discarded", dry_run=dry_run)


dead = group("dead", "List, show, retry and discard dead letters.", [list_, show, retry, discard])
