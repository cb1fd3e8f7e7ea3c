"""What an error means to the shell: its exit code and its message, in one place."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import cast

import click

from treadle import errors

OK, FAILED, USAGE, NO_APP, NO_BROKER, NO_PLUGIN, TIMED_OUT = 0, 1, 2, 3, 4, 5, 124

# The first class that fits decides: what stands below is more general.
_CODES: tuple[tuple[type[errors.TreadleError], int], ...] = (
    (errors.AppNotFound, NO_APP),
    (errors.ConfigurationError, USAGE),
    (errors.PluginError, NO_PLUGIN),
    (errors.TooLarge, USAGE),
    (errors.KeyHeld, USAGE),
    (errors.UnknownParent, USAGE),
    (errors.SessionEnded, FAILED),
    (errors.JobEnded, FAILED),
    (errors.BrokerError, NO_BROKER),
    (errors.ResultTimeout, TIMED_OUT),
    (errors.TreadleError, USAGE),
)


def exit_code(error: BaseException) -> int:
    """Return the exit code that an error stands for; 1 for one that nobody foresaw."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return FAILED


def as_known(error: BaseException) -> errors.TreadleError | None:
    """Return the error of ours that this is, or that a group of errors holds first."""
    for leaf in _leaves(error):
        if isinstance(leaf, errors.TreadleError):
            return leaf
    return None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        for inner in group.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def report(error: BaseException, *, verbose: bool) -> int:
    """Say on stderr what went wrong and what to do next; return the exit code."""
    from treadle.broker.url import masked  # noqa: PLC0415 - loads msgspec, not for --help
    from treadle.logs import escape  # noqa: PLC0415 - the same

    if verbose:
        click.echo(masked("".join(traceback.format_exception(error))), err=True)
    if isinstance(error, errors.TreadleError):
        code, text = error.code, str(error)
    else:
        code = "unexpected"
        hint = "" if verbose else " Run it again with -v to see where; please report it."
        text = f"{type(error).__name__}: {error}.{hint}"
    lines = [escape(line) for line in masked(text).splitlines()] or [type(error).__name__]
    label = click.style(f"Error [{code}]:", fg="red", bold=True)
    click.echo("\n  ".join([f"{label} {lines[0]}", *lines[1:]]), err=True)
    return exit_code(error)
