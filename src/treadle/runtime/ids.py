"""Job ids: UUIDv7 as text (RFC 9562), made without a system call for most of them.

Inside one process ids only grow, also when the wall clock jumps back. Layout: 48 bits of time,
26 random bits, then a 48-bit counter that starts at a random point in its lower half and is
drawn again with each new millisecond. Two processes that share a millisecond collide only if they
drew the same 26 bits and overlapping runs of the counter.
"""

from __future__ import annotations

import os
import threading
from itertools import count, islice

from treadle.runtime.clock import wall_ns

_MS = 1_000_000
_COUNTER_START_BITS = 47
_LAST = (1 << 48) - 1


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


_run = _Run(0)
_lock = threading.Lock()


def _next_run(now_ns: int) -> _Run:
    global _run  # noqa: PLW0603 - one sequence per process is what makes ids grow
    with _lock:
        if now_ns >= _run.ends_ns:
            _run = _Run(min(now_ns // _MS, _LAST))
        return _run


def _after_fork() -> None:
    # A child must not go on with its parent's counter, nor wait for a lock that nobody holds.
    global _run, _lock  # noqa: PLW0603
    _lock = threading.Lock()
    _run = _Run(_run.ms)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def new_id() -> str:
    """Return a new id; ids of one thread only grow."""
    now_ns = wall_ns()
    run = _run if now_ns < _run.ends_ns else _next_run(now_ns)
    return run.prefix + "%012x" % next(run.counter)  # noqa: UP031 - faster than an f-string here


def new_ids(n: int) -> list[str]:
    """Return `n` new ids in growing order."""
    now_ns = wall_ns()
    run = _run if now_ns < _run.ends_ns else _next_run(now_ns)
    prefix = run.prefix
    return [prefix + "%012x" % number for number in islice(run.counter, n)]  # noqa: UP031
