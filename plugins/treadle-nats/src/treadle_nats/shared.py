"""One engine for each namespace in a process, however many brokers use it."""

from __future__ import annotations

import os
from threading import Lock

from treadle_nats.address import Address
from treadle_nats.engine import Engine

_lock = Lock()
_engines: dict[Address, Engine] = {}
_users: dict[Address, int] = {}


def take(address: Address) -> Engine:
    """Return the engine of a namespace; it is started by its first user."""
    with _lock:
        engine = _engines.get(address)
        if engine is None:
            engine = _engines[address] = Engine(address)
        _users[address] = _users.get(address, 0) + 1
        return engine


def give_back(address: Address) -> Engine | None:
    """Use it no more; returns the engine if nobody does, which is then to be ended."""
    with _lock:
        left = _users[address] - 1
        if left:
            _users[address] = left
            return None
        del _users[address]
        return _engines.pop(address)


def _after_fork() -> None:
    """Forget the engines of the parent: their threads stayed there."""
    global _lock  # noqa: PLW0603 - it may have been held by a thread that is not here
    _lock = Lock()
    _engines.clear()
    _users.clear()


if hasattr(os, "register_at_fork"):  # pragma: no branch - always on Linux
    os.register_at_fork(after_in_child=_after_fork)
