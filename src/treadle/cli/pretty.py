"""Tables and progress bars for a terminal; the only file that loads rich."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed
from rich.table import Table
from rich.text import Text

_COLOURS = {
    "succeeded": "green",
    "running": "cyan",
    "retrying": "yellow",
    "dead": "red",
    "cancelled": "magenta",
    "ok": "green",
    "warning": "yellow",
    "failed": "red",
}


def draw(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Draw a table on stdout. Cells are plain text: no markup in them has a meaning."""
    table = Table(
        title=title or None,
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    # A column without a single value only takes room from the others.
    shown = [place for place in range(len(columns)) if any(row[place] for row in rows)]
    for name in (columns[place] for place in shown):
        # What people copy stays in one piece.
        table.add_column(name, overflow="fold", no_wrap=name in {"id", "name", "queue", "state"})
    for row in rows:
        cells = [row[place] for place in shown]
        table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in cells))
    Console().print(table)


class RichBar:
    """One bar of a progress display."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def update(self, done: int, total: int, note: str = "") -> None:
        """Show how far it is."""
        self._progress.update(self._task, completed=done, total=total or None, note=note)


class Bars:
    """Several bars below each other; one is made when its name is first used."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, RichBar] = {}

    def bar(self, label: str) -> RichBar:
        """Return the bar of this name."""
        if label not in self._bars:
            task = self._progress.add_task(Text(label).plain, total=None, note="")
            self._bars[label] = RichBar(self._progress, task)
        return self._bars[label]


@contextmanager
def bars() -> Generator[Bars]:
    """Show bars on stderr while the block runs."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Elapsed(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Bars(progress)


@contextmanager
def bar(label: str) -> Generator[RichBar]:
    """Show one bar on stderr while the block runs."""
    with bars() as several:
        yield several.bar(label)
