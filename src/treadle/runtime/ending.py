"""The last acts of a worker process, and what is said of how a process ended."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

from treadle.runtime.report import WorkerReport

logger = logging.getLogger("treadle.worker")

RECYCLE: Final = 1
"""The exit code of a process that lost too many slots: whoever runs it starts a fresh one."""
_FLUSH_S: Final = 0.2
_LOOP_S: Final = 0.25
"""How long a handler may hold the event loop when everything is handed back and settled."""
_HOOKS_S: Final = 5.0
"""How long exit hooks of the application may take, if the end of the grace period leaves so much."""
_AFTER_GRACE_S: Final = 1.75
"""No exit hook goes on for longer than this after the grace period: the process is gone by 2 s."""
_LEAST_S: Final = 0.05


def exit_code(report: WorkerReport) -> int:
    """Return the code with which a worker process ends."""
    return RECYCLE if report.recycle else 0


def signal_name(number: int) -> str:
    """Name a signal; real-time signals have numbers only."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def hooks_s(grace_left: float | None) -> float:
    """Return how long exit hooks may take; `grace_left` is None if nobody asked for the end."""
    if grace_left is None:
        return _HOOKS_S
    return min(_HOOKS_S, max(grace_left + _AFTER_GRACE_S, _LEAST_S))


class ForcedEnd:
    """Ends a process by force that does not end by itself after its worker has closed.

    Nothing is lost then: all jobs are handed back or settled. A handler that ignores its cancellation
    holds the event loop, and gets a moment. When the loop has ended, exit hooks of the application
    (`atexit`) get the time they need within `hooks_s`.
    """

    def __init__(self) -> None:
        self._code: int | None = None
        self._grace_left: Callable[[], float | None] = _unasked
        self._timer: threading.Timer | None = None

    def closed(self, code: int, grace_left: Callable[[], float | None]) -> None:
        """Note that the worker has closed; `code` is what the process ends with."""
        self._code, self._grace_left = code, grace_left
        # Whoever asked for the end waits for it; nobody else minds if a busy machine takes longer.
        seconds = _HOOKS_S if grace_left() is None else _LOOP_S
        self._end_in(seconds, "a handler on the event loop", code)

    def loop_ended(self) -> None:
        """Note that nothing holds the event loop any more; from now on exit hooks run."""
        if self._code is not None:
            self._end_in(hooks_s(self._grace_left()), "an exit hook or a thread", self._code)

    def _end_in(self, seconds: float, held_by: str, code: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, end_process, (code, held_by))
        self._timer.daemon = True
        self._timer.start()


def _unasked() -> None:
    """Say that nobody asked for the end."""


def end_process(code: int, held_by: str = "") -> NoReturn:
    """End the process now, whatever still runs; what was logged is written first.

    `held_by` is logged as what kept it. A blocked handler may hold the lock of a log or of an output
    stream, so that is waited for only for a moment.
    """
    flushing = threading.Thread(target=_flush, args=(held_by,), name="treadle-flush", daemon=True)
    flushing.start()
    flushing.join(_FLUSH_S)
    os._exit(code)


def _flush(held_by: str) -> None:
    if held_by:
        logger.warning("ended_by_force", extra={"held_by": held_by})
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
