"""How long one request may take.

On asyncio, which serves nearly all of them, a timer cancels the task of the request: a cancel scope costs
six times as much. Elsewhere it is a scope.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import anyio


class Patience(Protocol):
    """The deadline of the request that is served now."""

    def lift(self) -> None:
        """Let it take as long as it likes, as what streams does."""
        ...


Work = Callable[[Patience], Awaitable[None]]


class _Timer:
    __slots__ = ("_task", "_timer", "is_over")

    def __init__(self, task: asyncio.Task[Any], seconds: float) -> None:
        self.is_over = False
        self._task = task
        self._timer = task.get_loop().call_later(seconds, self._end)

    def _end(self) -> None:
        self.is_over = True
        self._task.cancel()

    def lift(self) -> None:
        self._timer.cancel()


class _Scope:
    def __init__(self, scope: anyio.CancelScope) -> None:
        self._scope = scope

    def lift(self) -> None:
        self._scope.deadline = math.inf


async def is_in_time(seconds: float, work: Work) -> bool:
    """Do the work, and tell whether it ended within its time; it is cancelled when that is over."""
    task = _task()
    if task is None:
        with anyio.move_on_after(seconds) as scope:
            await work(_Scope(scope))
        return not scope.cancelled_caught
    timer = _Timer(task, seconds)
    try:
        await work(timer)
    except asyncio.CancelledError:
        # Whoever else cancelled it (a server that ends) is heard, even in the same moment.
        if not timer.is_over or task.uncancel() > 0:
            raise
        return False
    finally:
        timer.lift()
    return True


def _task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # another event loop than asyncio's
        return None
