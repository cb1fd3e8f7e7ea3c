"""What a coroutine awaits while a thread works for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import anyio
from anyio.lowlevel import current_token


class _Future(Protocol):
    def __await__(self) -> Generator[Any, None, object]: ...

    def done(self) -> bool: ...

    def set_result(self, result: object) -> None: ...


class Sleeper:
    """Makes what a caller awaits: the loop's own futures on asyncio, which cost a fifth of an event."""

    def __init__(self) -> None:
        self._make_future: Callable[[], _Future] | None = None
        with suppress(anyio.NoEventLoopError):
            self._make_future = getattr(current_token().native_token, "create_future", None)

    def make(self) -> tuple[Awaitable[object], Callable[[], object]]:
        """Return what to await, and what wakes it when it is called on the loop."""
        if self._make_future is None:
            event = anyio.Event()
            return event.wait(), event.set
        future = self._make_future()
        return future, partial(_wake, future)


def _wake(future: _Future) -> None:
    if not future.done():  # it is, if the caller was cancelled
        future.set_result(None)
