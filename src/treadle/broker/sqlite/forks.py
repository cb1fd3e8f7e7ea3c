"""What a fork does to open databases: nothing, because none is open while it happens.

SQLite keeps its view of who has locked what in the process. A child that inherits it, and later
opens the same file, believes to hold locks that only its parent has: the file can be damaged. So
all connections are closed before a fork and opened again when they are next needed; a process that
never forks never pays for it. Starting a program (subprocess, spawn) is no fork in this sense.
"""

from __future__ import annotations

import os
from threading import Lock
from typing import Protocol
from weakref import WeakSet


class _Opener(Protocol):
    gate: Lock

    def release(self) -> None: ...


_open: WeakSet[_Opener] = WeakSet()
_held: list[_Opener] = []


def watch(opener: _Opener) -> None:
    """Have `release` called, with `gate` held, before this process forks."""
    _open.add(opener)


def _before() -> None:
    # Readers first: the last connection that closes checkpoints, and that is the writer's task.
    _held[:] = sorted(_open, key=_closes_last)
    for opener in _held:
        opener.gate.acquire()
        opener.release()


def _closes_last(opener: _Opener) -> bool:
    return bool(getattr(opener, "closes_last", False))


def _after() -> None:
    for opener in _held:
        opener.gate.release()
    _held.clear()


if hasattr(os, "register_at_fork"):  # pragma: no branch - always on Linux
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
