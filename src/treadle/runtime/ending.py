"""The last act of a worker process that cannot end by itself."""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import suppress
from typing import Final, NoReturn

from treadle.runtime.report import WorkerReport

RECYCLE: Final = 1
"""The exit code of a process that lost too many slots: whoever runs it starts a fresh one."""
_FLUSH_S: Final = 0.2


def exit_code(report: WorkerReport) -> int:
    """Return the code with which a worker process ends."""
    return RECYCLE if report.recycle else 0


def end_process(code: int) -> NoReturn:
    """End the process now, whatever still runs; what was logged is written first.

    A blocked handler may hold the lock of a log or of an output stream, so that is waited for only
    for a moment.
    """
    flushing = threading.Thread(target=_flush, name="treadle-flush", daemon=True)
    flushing.start()
    flushing.join(_FLUSH_S)
    os._exit(code)


def _flush() -> None:
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
