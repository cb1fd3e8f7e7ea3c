"""`qrun new`: the commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from treadle.cli.call import Call, command, group
from treadle.cli.new.package import write
from treadle.errors import ConfigurationError
from treadle.plugins.catalog import SCHEMES


def _package(function: Callable[..., None]) -> Callable[..., None]:
    """Add what all of them take: a name and a folder."""
    into = click.option(
        "--into",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path(),
        show_default="the current folder",
        help="Where to make the folder of the package.",
    )
    return click.argument("name")(into(function))


@command("broker")
@_package
def broker(call: Call, name: str, into: Path) -> None:
    """Write a package with a broker for URLs NAME://, ready to be changed.

    It works as written: jobs in a folder, safe when a process is killed, shared by several. It passes
    the conformance kit. What stands for your store is marked REPLACE.
    """
    if name in SCHEMES:
        raise ConfigurationError(f"the scheme {name}:// belongs to Treadle: choose another name")
    _write(call, "broker", name, into)


@command("handler")
@_package
def handler(call: Call, name: str, into: Path) -> None:
    """Write a plugin with handlers that any application can allow and enqueue to."""
    _write(call, "handler", name, into)


@command("middleware")
@_package
def middleware(call: Call, name: str, into: Path) -> None:
    """Write a plugin with middleware that runs around every attempt of those who allow it."""
    _write(call, "middleware", name, into)


def _write(call: Call, kind: str, name: str, into: Path) -> None:
    files = write(kind, name, into)
    for file in files:
        call.output.line(str(file))
    call.output.note(f'Next: cd {into / f"treadle-{name}"} && pip install -e ".[test]" && pytest')


new = group("new", "Write a package of your own.", [broker, handler, middleware])
