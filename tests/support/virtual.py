"""Virtual time for both event loops: nothing sleeps, time jumps to the next thing that is due."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

import anyio
import trio.testing

EPOCH_MS = 1_800_000_000_000


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that never waits: where it would, it moves its loop's clock instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            return super().select(5)  # only a thread or a process can wake it
        self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose time is virtual."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def virtual_backends() -> list[Any]:
    """Return parameters for the `anyio_backend` fixture: asyncio and trio on virtual time."""
    return [
        ("asyncio", {"loop_factory": VirtualLoop}),
        ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}),
    ]


class LoopClock:
    """A clock that shows the running loop's time, moved by `skew_ms`."""

    def __init__(self) -> None:
        self.skew_ms = 0

    def time_ms(self) -> int:
        return EPOCH_MS + self.skew_ms + round(anyio.current_time() * 1000)

    def monotonic(self) -> float:
        return anyio.current_time()
