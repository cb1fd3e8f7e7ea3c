"""What jobs wait for besides time: other jobs, and slots of a concurrency key."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from treadle.broker.memory.lane import Row, Timeline
from treadle.domain.job import Ref
from treadle.domain.state import State


class Edges:
    """Which jobs wait for which, from both ends, and when to look at the waiting ones."""

    __slots__ = ("_looks", "_open", "children")

    def __init__(self) -> None:
        self.children: dict[Ref, dict[int, Row]] = {}
        self._looks = Timeline()
        self._open: dict[int, Row] = {}

    def tie(self, row: Row, edges: tuple[Ref, ...]) -> None:
        """Replace the set of jobs that `row` waits for."""
        for ref in set(row.edges):
            children = self.children[ref]
            children.pop(row.seq, None)
            if not children:
                del self.children[ref]
        row.edges = edges
        for ref in edges:
            self.children.setdefault(ref, {})[row.seq] = row

    def blocked_on(self, parent: Ref) -> list[Row]:
        """Return the blocked jobs that wait for `parent`."""
        waiting = self.children.get(parent, {}).values()
        return [row for row in waiting if row.head.state is State.BLOCKED]

    def look_when_due(self, row: Row) -> None:
        """Have a blocked row handed out once it is due."""
        self._looks.push(row)

    def due(self, now: int) -> Iterator[Row]:
        """Yield the blocked rows that are due for a look; what no longer is, is put away."""
        while (found := self._looks.pop(now)) is not None:
            self._open[found.seq] = found
        for seq, row in list(self._open.items()):
            if row.head.state is State.BLOCKED and not row.head.blocked_on and row.head.due <= now:
                yield row
            else:
                del self._open[seq]


class Slots:
    """How many jobs of each concurrency key run, how many may, and who waits for a slot."""

    __slots__ = ("_used", "_waiting", "limits")

    def __init__(self) -> None:
        self.limits: dict[str, int] = {}
        self._used: dict[str, int] = {}
        self._waiting: dict[str, OrderedDict[int, Row]] = {}

    def has_room(self, key: str) -> bool:
        """Tell whether one more job of `key` may run."""
        limit = self.limits.get(key)
        return limit is None or self._used.get(key, 0) < limit

    def room(self, key: str) -> int:
        """Return how many of those that wait for `key` may be let in now."""
        waiting = len(self._waiting.get(key, ()))
        limit = self.limits.get(key)
        free = waiting if limit is None else limit - self._used.get(key, 0)
        return max(min(free, waiting), 0)

    def take(self, key: str) -> None:
        """Count one more running job. Counted without a limit too: one may be set while it runs."""
        self._used[key] = self._used.get(key, 0) + 1

    def give(self, key: str) -> None:
        """Count one running job less."""
        left = self._used[key] - 1
        if left:
            self._used[key] = left
        else:
            del self._used[key]

    def wait(self, row: Row) -> None:
        """Let a blocked row wait for a slot of the key that it is blocked on, behind all others."""
        self._waiting.setdefault(row.head.blocked_on, OrderedDict())[row.seq] = row

    def leave(self, row: Row) -> None:
        """Let a row wait no longer."""
        waiting = self._waiting[row.head.blocked_on]
        del waiting[row.seq]
        if not waiting:
            del self._waiting[row.head.blocked_on]

    def first(self, key: str) -> Row | None:
        """Return the row that has waited longest for a slot of `key`."""
        waiting = self._waiting.get(key)
        return next(iter(waiting.values())) if waiting else None

    def due(self, now: int) -> Iterator[Row]:
        """Yield rows that could run after all, and are due for a look.

        A freed slot lets its waiter in at once, so these exist only if that one did not take it:
        its queue is paused, or it was cancelled. Those of a full key are not worth a look.
        """
        for key, waiting in list(self._waiting.items()):
            if self.has_room(key):
                yield from [row for row in waiting.values() if row.head.due <= now]
