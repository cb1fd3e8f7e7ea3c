"""Job ids: UUIDv7 as text (RFC 9562), made without a system call for most of them.

Inside one process ids only grow, also when the wall clock jumps back. Layout: 48 bits of time,
26 random bits, then a 48-bit counter that starts at a random point in its lower half and is
drawn again with each new millisecond. Two processes that share a millisecond collide only if they
drew the same 26 bits and overlapping runs of the counter.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from itertools import count, islice

from treadle.runtime.clock import wall_ns

_MS = 1_000_000
_COUNTER_START_BITS = 47
_LAST = (1 << 48) - 1
_LAST_DIGITS = tuple(f"{number:02x}" for number in range(256))


class _Run:
    """The ids of one millisecond: a fixed beginning and a counter that threads may share."""

    __slots__ = ("counter", "ends_ns", "ms", "prefix")

    def __init__(self, ms: int) -> None:
        chance = int.from_bytes(os.urandom(10))
        first = chance >> 68  # 12 bits
        second = chance >> 54 & 0x3FFF  # 14 bits
        start = chance & (1 << _COUNTER_START_BITS) - 1
        self.ms = ms
        self.ends_ns = (ms + 1) * _MS
        self.prefix = f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7{first:03x}-{0x8000 | second:04x}-"
        self.counter = count(start)


def _texts(prefix: str, first: int, n: int) -> list[str]:
    """Return the ids of `n` numbers in a row; those that differ in the last two digits share the rest."""
    texts: list[str] = []
    end = first + n
    while first < end:
        place = first & 0xFF
        some = _LAST_DIGITS[place : place + end - first]
        texts += map(f"{prefix}{first >> 8:010x}".__add__, some)
        first += len(some)
    return texts


class Ids:
    """A sequence of ids that only grow; may be used from any thread."""

    def __init__(self, now_ns: Callable[[], int] = wall_ns) -> None:
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._run = _Run(0)

    def new(self) -> str:
        """Return a new id; ids of one thread only grow."""
        run = self._run
        now_ns = self._now_ns()
        if now_ns >= run.ends_ns:
            run = self._next_run(now_ns)
        return run.prefix + "%012x" % next(run.counter)  # noqa: UP031 - faster than an f-string

    def many(self, n: int) -> list[str]:
        """Return `n` new ids in growing order."""
        run = self._run
        now_ns = self._now_ns()
        if now_ns >= run.ends_ns:
            run = self._next_run(now_ns)
        numbers = list(islice(run.counter, n))
        if numbers and numbers[-1] - numbers[0] == n - 1:
            return _texts(run.prefix, numbers[0], n)
        return [run.prefix + "%012x" % one for one in numbers]  # noqa: UP031 - another thread came

    def _next_run(self, now_ns: int) -> _Run:
        with self._lock:
            if now_ns >= self._run.ends_ns:
                self._run = _Run(min(now_ns // _MS, _LAST))
            return self._run

    def after_fork(self) -> None:
        """Go on with new chance in a forked child, and without a lock that nobody will release."""
        self._lock = threading.Lock()
        self._run = _Run(self._run.ms)


_own = Ids()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_own.after_fork)

new_id = _own.new
new_ids = _own.many
