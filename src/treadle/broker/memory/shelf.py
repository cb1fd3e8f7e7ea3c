"""An index of rows by creation that is cheap to change and can be read from any place, both ways.

Rows lie in drawers of 1,024 consecutive sequence numbers, so that a page of a listing sorts the
numbers of the drawers and the content of one or two of them, however many rows there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

_BITS = 10


class Shelf(Generic[T]):
    """Rows under their sequence numbers."""

    __slots__ = ("_drawers",)

    def __init__(self) -> None:
        self._drawers: dict[int, dict[int, T]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._drawers.values()))

    def __bool__(self) -> bool:
        return bool(self._drawers)

    def add(self, seq: int, row: T) -> None:
        """Put a row on the shelf; its number is not on it yet."""
        try:
            self._drawers[seq >> _BITS][seq] = row
        except KeyError:
            self._drawers[seq >> _BITS] = {seq: row}

    def add_many(self, first: int, rows: Sequence[T]) -> None:
        """Put rows on the shelf under the numbers from `first` on."""
        begin, end = first, first + len(rows)
        while begin < end:
            drawer = begin >> _BITS
            until = min(end, (drawer + 1) << _BITS)
            some = zip(range(begin, until), rows[begin - first : until - first], strict=True)
            self._drawers.setdefault(drawer, {}).update(some)
            begin = until

    def drop(self, seq: int) -> None:
        """Take a row off the shelf; its number is on it."""
        drawer = self._drawers[seq >> _BITS]
        del drawer[seq]
        if not drawer:
            del self._drawers[seq >> _BITS]

    def walk(self, after: int | None, *, newest: bool) -> Iterator[tuple[int, T]]:
        """Yield numbers and rows behind `after`, newest or oldest first."""
        for number in sorted(self._drawers, reverse=newest):
            if after is not None:
                edge = after >> _BITS
                if number > edge if newest else number < edge:
                    continue
            drawer = self._drawers[number]
            for seq in sorted(drawer, reverse=newest):
                if after is None or (seq < after if newest else seq > after):
                    yield seq, drawer[seq]
