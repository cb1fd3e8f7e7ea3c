"""One queue: its rows, and the order in which they are claimed.

An entry of a line or timeline names a row AND the fence that the row had when it was put there.
Every write moves the fence, so an entry is worth something exactly as long as the fence is still
the same: nothing has to be searched for and taken out when a job is cancelled or moved in time.
What is worth nothing any more is skipped when met, and swept out when it piles up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush

from msgspec import Struct

from treadle.broker.memory.notebook import Notebook
from treadle.broker.memory.shelf import Shelf
from treadle.domain.job import Fault, Head, HistoryRow, Job, Priority, Ref
from treadle.domain.state import State

_SWEEP_FROM = 1_024


class Row(Struct, gc=False):
    """A record as it is stored: the only values that change, and only under the store's lock.

    It refers to nothing that refers back to it, so the garbage collector need not know of it:
    with it, a million jobs would be walked through again and again.
    """

    job: Job
    head: Head
    created: int
    seq: int
    """Its place in the order of creation over all queues."""
    result: bytes | None = None
    history: tuple[HistoryRow, ...] = ()
    edges: tuple[Ref, ...] = ()
    notebook: Notebook | None = None
    fault: Fault | None = None
    later: bool = False
    """It waits among the timers of its lane."""


Entry = tuple[int, int, int, Row]
"""Due, sequence number, fence, row: entries compare by the first two."""


def entry(row: Row) -> Entry:
    """Make the entry that is worth something until the row is written again."""
    return (row.head.due, row.seq, row.head.fence, row)


def is_current(found: Entry) -> bool:
    """Tell whether an entry still speaks of the row as it is."""
    return found[3].head.fence == found[2]


class Timeline:
    """Rows by the instant at which something is due: one heap."""

    __slots__ = ("_room", "heap")

    def __init__(self) -> None:
        self.heap: list[Entry] = []
        self._room = _SWEEP_FROM
        """How many more may be pushed before the next sweep."""

    def push(self, row: Row) -> None:
        """Remember when `row` is due."""
        head = row.head
        heappush(self.heap, (head.due, row.seq, head.fence, row))
        self._room -= 1
        if not self._room:
            # Not `is_current`: every row that is stored is looked at here about once.
            kept = [found for found in self.heap if found[3].head.fence == found[2]]
            if len(kept) < len(self.heap):
                self.heap = kept
                heapify(kept)
            self._room = max(len(self.heap), _SWEEP_FROM)

    def pop(self, now: int) -> Row | None:
        """Take out the row that has been due longest; None if none is due at `now`."""
        heap = self.heap
        while heap and heap[0][0] <= now:
            found = heappop(heap)
            if is_current(found):
                return found[3]
        return None

    def first(self) -> Row | None:
        """Return the row that is due next, now or later."""
        heap = self.heap
        while heap:
            if is_current(heap[0]):
                return heap[0][3]
            heappop(heap)
        return None

    def has_due(self, now: int) -> bool:
        """Tell whether `pop` is worth a call."""
        return bool(self.heap) and self.heap[0][0] <= now


def _dues(ready: Iterable[Entry]) -> Iterator[int]:
    """Yield the due times of the rows that stand first, and that of the next one."""
    for found in ready:
        if is_current(found):
            yield found[3].head.due
            if found[0]:
                return


def _first_few(heap: Sequence[Entry]) -> Iterator[int]:
    """Yield the places of the current rows that no other current one is ordered before.

    Those that stand first are told as well: what they are ordered by says nothing of their due time.
    """
    places = [0]
    while places:
        place = places.pop()
        if place >= len(heap):
            continue
        if is_current(heap[place]):
            yield place
            if heap[place][0]:
                continue
        places += (2 * place + 1, 2 * place + 2)


class Line:
    """The due rows of one (queue, priority), by due time and then as enqueued.

    Nearly all come in that order and stand in a deque; what comes out of order (a timer, a job
    that is handed back) stands in a heap beside it, and whichever is first goes first.
    """

    __slots__ = ("_ready", "_room", "_strays")

    def __init__(self) -> None:
        self._ready: deque[Entry] = deque()
        self._strays: list[Entry] = []
        self._room = _SWEEP_FROM
        """How many more may be put here before the next sweep."""

    def put(self, found: Entry) -> None:
        """Let a row stand in the line at its place."""
        ready = self._ready
        if not ready or ready[-1] < found:
            ready.append(found)
        else:
            heappush(self._strays, found)
        self._room -= 1
        if not self._room:
            self._sweep()

    def put_many(self, found: Sequence[Entry]) -> None:
        """Let rows, which are in order, stand in the line at their places."""
        ready = self._ready
        if ready and found[0] < ready[-1]:
            for one in found:
                self.put(one)
            return
        ready.extend(found)
        self._room -= len(found)
        if self._room <= 0:
            self._sweep()

    def pop(self) -> Row | None:
        """Take out the first row; None if nobody stands here."""
        ready, strays = self._ready, self._strays
        while ready or strays:
            stray = strays and (not ready or strays[0] < ready[0])
            found = heappop(strays) if stray else ready.popleft()
            if found[3].head.fence == found[2]:
                return found[3]
        return None

    def oldest(self) -> int | None:
        """Return since when the longest waiting row has been due."""
        ready, strays = self._ready, self._strays
        while ready and not is_current(ready[0]):
            ready.popleft()
        while strays and not is_current(strays[0]):
            heappop(strays)
        dues = [*_dues(ready), *(strays[n][3].head.due for n in _first_few(strays))]
        return min(dues, default=None)

    def _sweep(self) -> None:
        self._ready = deque(found for found in self._ready if is_current(found))
        self._strays = [found for found in self._strays if is_current(found)]
        heapify(self._strays)
        self._room = max(len(self._ready) + len(self._strays), _SWEEP_FROM)


class Key(Struct, frozen=True):
    """A unique key as stored: who took it, the states in which it holds, and until when."""

    id: str
    mask: int
    until: int


class Memory(Struct, frozen=True):
    """What is remembered of a removed record."""

    state: State
    fence: int
    until: int
    key: str
    """The unique key that it had taken; "" = none."""


class Lane:
    """One queue."""

    __slots__ = (
        "keys",
        "later",
        "limit",
        "lines",
        "name",
        "paused",
        "remembered",
        "rows",
        "shelves",
        "timers",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows: dict[str, Row] = {}
        self.shelves: tuple[Shelf[Row], ...] = tuple(Shelf[Row]() for _ in State)
        """By state: the numbers of the states are 0 to 5."""
        self.lines = tuple(Line() for _ in Priority)
        """By priority, the same."""
        self.timers = Timeline()
        self.later = 0
        self.paused = False
        self.limit: int | None = None
        self.keys: dict[str, Key] = {}
        self.remembered: dict[str, Memory] = {}

    def place(self, row: Row, now: int, *, first: bool = False) -> bool:
        """Let a waiting row wait for its claim; tell whether a sleeping claim should look again.

        `first` puts it before all others of its priority.
        """
        head = row.head
        if head.due > now:
            row.later = True
            self.later += 1
            self.timers.push(row)
            return self.timers.first() is row
        due = 0 if first else head.due
        self.lines[row.job.priority].put((due, row.seq, head.fence, row))
        return True

    def promote(self, now: int) -> None:
        """Let the timers that are due stand in line."""
        while (row := self.timers.pop(now)) is not None:
            row.later = False
            self.later -= 1
            self.lines[row.job.priority].put(entry(row))

    def forget_place(self, row: Row) -> None:
        """Count a row no more that leaves before its claim."""
        if row.later:
            row.later = False
            self.later -= 1

    def oldest_due(self) -> int | None:
        """Return since when the longest waiting due row could have been claimed."""
        return min((due for line in self.lines if (due := line.oldest()) is not None), default=None)
