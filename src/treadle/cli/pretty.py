"""Tables and progress bars for a terminal; the only file that loads rich."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed
from rich.table import Table
from rich.text import Text

from treadle.cli.fitting import GAP, INDENT, NOTHING, Layout, Narrow, fit, total

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
_EDGES = 2
"""What a drawn table takes besides its columns and the gaps between them."""
_INDENT = " " * INDENT
_MOST_BELOW = 3
"""So many lines of a text are shown below its row."""


def draw(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str = "",
    narrow: Narrow | None = None,
) -> tuple[str, ...]:
    """Draw a table on stdout, and return the names of columns that it had no room for.

    Cells are plain text: no markup in them has a meaning.
    """
    console = Console()
    # A column without a single value only takes room from the others.
    shown = [place for place in range(len(columns)) if any(row[place] for row in rows)]
    columns = [columns[place] for place in shown]
    rows = [[row[place] for place in shown] for row in rows]
    widths = [
        max(map(cell_len, (name, *(row[place] for row in rows))))
        for place, name in enumerate(columns)
    ]
    whole = total(widths, range(len(widths))) + _EDGES
    if narrow is None or whole <= console.width:
        console.print(_table(columns, rows, title))
        return ()
    empty = [NOTHING.issuperset(row[place] for row in rows) for place in range(len(columns))]
    layout = fit(columns, widths, empty, console.width, narrow)
    if title:
        console.print(Text(title), soft_wrap=True)
    _draw_narrow(console, columns, rows, widths, layout)
    return tuple(columns[place] for place in layout.left_out)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> Table:
    table = Table(
        title=title or None,
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for name in columns:
        # What people copy stays in one piece.
        table.add_column(name, overflow="fold", no_wrap=name in {"id", "name", "queue", "state"})
    for row in rows:
        table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    return table


def _draw_narrow(
    console: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    layout: Layout,
) -> None:
    """Draw rows of one line, with what is long on lines of its own below."""
    if layout.fits:
        console.print(_line(columns, widths, layout.beside, header=True), soft_wrap=True)
        console.print("─" * total(widths, layout.beside), soft_wrap=True)
    for row in rows:
        if layout.fits:
            console.print(_line(row, widths, layout.beside), soft_wrap=True)
        else:
            # Longer than the window: what is printed in one piece can be copied in one piece.
            first, *others = layout.beside
            console.print(Text(row[first], style="bold"), soft_wrap=True)
            console.print(Text(_INDENT) + _line(row, widths, others), soft_wrap=True)
        text = ": ".join(row[place] for place in layout.below if row[place])
        for part in _wrapped(console, text):
            console.print(Text(_INDENT) + part, soft_wrap=True, highlight=False)


def _line(
    row: Sequence[str], widths: Sequence[int], places: Sequence[int], *, header: bool = False
) -> Text:
    line = Text()
    for place in places:
        cell = row[place]
        line.append(cell, style="bold" if header else _COLOURS.get(cell, ""))
        line.append(" " * (widths[place] - cell_len(cell) + GAP))
    line.rstrip()
    return line


def _wrapped(console: Console, text: str) -> list[Text]:
    """Break a text into lines that fit below a row; what is too long ends in dots."""
    if not text:
        return []
    room = console.width - len(_INDENT)
    enough = text[: (_MOST_BELOW + 1) * room]
    lines = list(Text(enough, style="dim").wrap(console, room))
    for line in lines:
        line.rstrip()
    if len(lines) > _MOST_BELOW:
        lines = lines[:_MOST_BELOW]
        lines[-1].truncate(room - 1)
        lines[-1].append("…")
    return lines


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
