"""Which columns of a table stand side by side on a terminal that is too narrow for all of them.

What people copy is never cut and never broken. What is long is shown below its row, what a table can
do without is left out, those without a value first; who draws it says what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

GAP = 2
"""Blanks between two columns."""
INDENT = 2
"""Blanks before what belongs to the line above."""
NOTHING = frozenset({"", "0"})


class Narrow(Struct, frozen=True, kw_only=True):
    """What a table can do to become narrower; the names are those of its columns."""

    below: tuple[str, ...] = ()
    """Texts that are shown below their row."""
    spare: tuple[str, ...] = ()
    """Columns that can be left out, the first one first."""


class Layout(Struct, frozen=True, kw_only=True):
    """What is drawn, as places of columns."""

    beside: tuple[int, ...]
    below: tuple[int, ...] = ()
    left_out: tuple[int, ...] = ()
    fits: bool = True
    """What stands side by side fits on one line; else the first column gets a line of its own."""


def fit(
    columns: Sequence[str],
    widths: Sequence[int],
    empty: Sequence[bool],
    room: int,
    narrow: Narrow,
) -> Layout:
    """Arrange columns of these widths in so much room; `empty` ones tell nothing in any row."""
    places = {name: place for place, name in enumerate(columns)}
    below = tuple(places[name] for name in narrow.below if name in places)
    every = [place for place in range(len(columns)) if place not in below]
    spare = [places[name] for name in narrow.spare if name in places]
    spare.sort(key=lambda place: not empty[place])
    beside = _kept(every, spare, widths, room)
    fits = total(widths, beside) <= room
    if not fits:
        beside = [every[0], *_kept(every[1:], spare, widths, room - INDENT)]
    left_out = [place for place in every if place not in beside and not empty[place]]
    return Layout(beside=tuple(beside), below=below, left_out=tuple(left_out), fits=fits)


def total(widths: Sequence[int], places: Sequence[int]) -> int:
    """Return how wide some columns are beside each other."""
    return sum(widths[place] for place in places) + GAP * (len(places) - 1)


def _kept(
    places: Sequence[int], spare: Sequence[int], widths: Sequence[int], room: int
) -> list[int]:
    kept = list(places)
    for place in spare:
        if total(widths, kept) <= room:
            break
        kept.remove(place)
    return kept
