"""Which jobs a command speaks about: ids, or a filter, never all of them by accident."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import click
from msgspec import Struct, structs

from treadle.broker.base import Filter, Order
from treadle.domain.job import Ref
from treadle.domain.state import Shown

PRIORITIES = ("critical", "high", "medium", "low")

Function = Callable[..., None]

_FILTER = (
    click.option("--queue", metavar="NAME", help="Only jobs of this queue."),
    click.option("--type", metavar="NAME", help="Only jobs of this type."),
    click.option(
        "--reason", metavar="WORD", help="Only jobs with this reason: exhausted, lost ..."
    ),
    click.option("--error", metavar="TEXT", help="TEXT occurs in the last error."),
    click.option("--text", metavar="TEXT", help="TEXT occurs in id, type, unique key or reason."),
)
_STATE = click.option(
    "--state", type=click.Choice([state.value for state in Shown]), help="Only jobs in this state."
)
_BULK = (
    click.argument("ids", nargs=-1, metavar="[ID]..."),
    click.option("--all", is_flag=True, help="Act without any other filter."),
    click.option("--dry-run", is_flag=True, help="Only tell what would be done."),
)
_LIST = (
    click.option(
        "--limit", type=click.IntRange(min=0), default=50, help="Show at most this many; 0 = all."
    ),
    click.option("--oldest", is_flag=True, help="Show the oldest first."),
)
_IDS = (
    click.argument("ids", nargs=-1, required=True, metavar="ID..."),
    click.option(
        "--queue", metavar="NAME", default="", help="The queue of the jobs, if you know it."
    ),
)


class Selected(Struct, frozen=True, kw_only=True):
    """Jobs by id, else by filter."""

    refs: tuple[Ref, ...] = ()
    filter: Filter = Filter()
    only: Shown | None = None
    """Jobs named by id that are in another state are skipped."""


def filtered(*, state: Shown | None = None) -> Callable[[Function], Function]:
    """Add the options that filter jobs; the command gets them as `filter`.

    `state` fixes the state; without it `--state` is an option.
    """

    def decorate(function: Function) -> Function:
        @wraps(function)
        def run(
            *args: Any,
            queue: str | None,
            type: str | None,
            reason: str | None,
            error: str | None,
            text: str | None,
            **rest: Any,
        ) -> None:
            wanted = rest.pop("state", None)
            chosen = Filter(
                queue=queue,
                type=type,
                reason=reason,
                error=error or "",
                text=text or "",
                state=state if wanted is None else Shown(wanted),
            )
            function(*args, filter=chosen, **rest)

        return _with(_FILTER if state is not None else (*_FILTER, _STATE), run)

    return decorate


def listing(*, state: Shown | None = None) -> Callable[[Function], Function]:
    """Add the options of a list; the command gets `filter`, `limit` and `order`."""

    def decorate(function: Function) -> Function:
        @wraps(function)
        def run(*args: Any, oldest: bool, **rest: Any) -> None:
            function(*args, order=Order.OLDEST if oldest else Order.NEWEST, **rest)

        return filtered(state=state)(_with(_LIST, run))

    return decorate


def naming(function: Function) -> Function:
    """Add the ids that a command wants, as `ids`, and the queue they are in, as `queue`."""
    return _with(_IDS, function)


def selecting(
    *, state: Shown | None = None, default: Shown | None = None
) -> Callable[[Function], Function]:
    """Add ids, filter, `--all` and `--dry-run`; the command gets `selected` and `dry_run`.

    `state` is the only state that the command speaks about, `default` the one that a filter
    without `--state` means.
    """

    def decorate(function: Function) -> Function:
        @wraps(function)
        def run(*args: Any, ids: tuple[str, ...], all: bool, filter: Filter, **rest: Any) -> None:
            selected = select(ids, filter, everything=all, state=state)
            if not ids and filter.state is None:
                meant = structs.replace(filter, state=default)
                selected = structs.replace(selected, filter=meant)
            function(*args, selected=selected, **rest)

        return _with(_BULK, filtered(state=state)(run))

    return decorate


def _with(options: Sequence[Callable[[Function], Function]], function: Function) -> Function:
    """Put options on a command, in the order in which its help shows them."""
    for option in reversed(options):
        function = option(function)
    return function


def select(
    ids: Sequence[str], filter: Filter, *, everything: bool, state: Shown | None = None
) -> Selected:
    """Choose between ids and a filter; one that matches everything wants `--all`.

    Raises:
        click.UsageError: if neither or both were given.
    """
    if ids:
        if everything or filter != Filter(queue=filter.queue, state=state):
            raise click.UsageError("Give ids or a filter, not both (--queue may stand beside ids).")
        queue = filter.queue or ""
        return Selected(refs=tuple(Ref(queue, name) for name in dict.fromkeys(ids)), only=state)
    if filter == Filter(state=state) and not everything:
        raise click.UsageError("Name jobs by id, filter them (--queue, --type ...), or use --all.")
    return Selected(filter=filter)
