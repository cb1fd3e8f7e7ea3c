"""SIGTERM and SIGINT of a worker process, also while its event loop is blocked.

An event loop that is blocked hears of no signal. A handler of Python's own runs all the same, between two
steps of whatever blocks, so that starting jobs ends at once and the heartbeat thread knows that
the grace period runs. The receiver of the event loop is kept open beneath: it is what wakes the loop.
Of two signals in the same instant the second may be noticed only when what blocks takes its next step:
the kernel may give it to another thread, and only the main one runs handlers.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

import anyio

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class EarlySignals:
    """Keeps every SIGTERM and SIGINT that comes while it is entered, for whoever asks for them.

    A worker enters it before it says that it starts: from then on a signal ends it in order, also
    one that comes before there is anything to drain.
    """

    def __init__(self) -> None:
        self._kept: list[int] = []
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._keep)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before = {}

    def take(self) -> list[int]:
        """Return what came and was not taken yet; call it when handlers of one's own are in place."""
        taken, self._kept = self._kept, []
        return taken

    def _keep(self, number: int, _frame: FrameType | None) -> None:
        self._kept.append(number)


class StopSignals:
    """Calls `drain` for every SIGTERM and SIGINT while it is entered; after the first without grace.

    Those that `early` kept come first.
    """

    def __init__(
        self, drain: Callable[[int | None], None], early: EarlySignals | None = None
    ) -> None:
        self._drain = drain
        self._early = EarlySignals() if early is None else early
        self._first: list[None] = [None]
        """Popped by the first signal; a second may come in the middle of its handler."""
        self._before: dict[signal.Signals, Any] = {}
        self._waker = anyio.open_signal_receiver(*SIGNALS)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._waker.__enter__()
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self.heard)
            for kept in self._early.take():
                self.heard(kept, None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if self._before:
            self._before = {}
            self._waker.__exit__(kind, error, traceback)

    def heard(self, _number: int, _frame: FrameType | None) -> None:
        """Drain; no lock is taken here, since what was interrupted may hold it."""
        try:
            grace_ms = self._first.pop()
        except IndexError:
            self._drain(0)
        else:
            self._drain(grace_ms)


def is_stop_handler(handler: object) -> bool:
    """Tell whether a signal handler is that of a `StopSignals`."""
    return isinstance(getattr(handler, "__self__", None), StopSignals)
