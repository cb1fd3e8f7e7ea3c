"""How commands speak: rows as JSON lines, as plain columns, or as a table on a terminal.

Data goes to stdout, everything said about it to stderr. What jobs brought along is escaped.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Protocol

import click
import msgspec

from treadle.cli.fitting import Narrow
from treadle.logs import escape, escape_json

_WIDEST = 60
"""How many characters one plain cell may have; the last column is never cut."""


class Bar(Protocol):
    """A progress bar: `done` of `total`, and what is going on."""

    def update(self, done: int, total: int, note: str = "") -> None:
        """Show how far it is."""
        ...


class _NoBar:
    def update(self, done: int, total: int, note: str = "") -> None:
        """Show nothing."""


class Output:
    """Where a command writes; it knows whether it speaks to a person or to a program."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet

    @property
    def pretty(self) -> bool:
        """Tell whether stdout is a terminal that shall get tables."""
        return sys.stdout.isatty() and not self.as_json

    def note(self, text: str) -> None:
        """Say something about the data, to people only."""
        if not self.quiet:
            click.echo("\n".join(escape(line) for line in text.splitlines()), err=True)

    def line(self, text: str) -> None:
        """Write one line of data."""
        click.echo(escape(text))

    def objects(self, values: Iterable[object]) -> None:
        """Write each value as one line of JSON."""
        for value in values:
            click.echo(json_line(value))

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        title: str = "",
        narrow: Narrow | None = None,
    ) -> None:
        """Write rows of text: a drawn table on a terminal, aligned columns elsewhere.

        `narrow` says what the table can do to become narrower; without it long cells are wrapped.
        """
        safe = [[escape(cell) for cell in row] for row in rows]
        if self.pretty:
            from treadle.cli.pretty import draw  # noqa: PLC0415 - loads rich

            left_out = draw(columns, safe, title, narrow)
            if left_out:
                self.note(
                    f"No room for: {', '.join(left_out)}. A wider window or --json shows them."
                )
            return
        for line in aligned([[name.upper() for name in columns], *safe]):
            click.echo(line)

    @contextmanager
    def progress(self, label: str) -> Generator[Bar]:
        """Show a progress bar while the block runs, if stderr is a terminal."""
        if self.quiet or self.as_json or not sys.stderr.isatty():
            yield _NoBar()
            return
        from treadle.cli.pretty import bar  # noqa: PLC0415 - loads rich

        with bar(label) as drawn:
            yield drawn


def json_line(value: object) -> str:
    """Encode a value as JSON on one line that is safe to show."""
    return escape_json(msgspec.json.encode(value).decode())


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Pad cells so that columns stand below each other."""
    cut = [[_cut(cell) for cell in row[:-1]] + [row[-1]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cut, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cut
    ]


def _cut(cell: str) -> str:
    return cell if len(cell) <= _WIDEST else cell[: _WIDEST - 1] + "…"
