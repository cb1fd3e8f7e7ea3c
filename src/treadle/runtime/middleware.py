"""The middleware in the box: logging, recovery and a default time limit.

Each is plain `async (attempt, call_next) -> outcome`. Register with `jobs.use(...)`; order is as
registered, the first is the outermost.
"""

from __future__ import annotations

import logging

import anyio

from treadle.domain.job import ErrorInfo
from treadle.domain.outcome import Failed, Interrupted, Outcome
from treadle.domain.state import Reason
from treadle.runtime.attempt import Attempt, Middleware, Next
from treadle.runtime.failures import failure, is_cancellation, is_closing

logger = logging.getLogger("treadle.job")


def log_attempts(level: int = logging.INFO) -> Middleware:
    """Log one line per attempt when it ends, with job id, type, queue, attempt and outcome.

    Also of one that is stopped: over its time limit, cancelled, handed back, lost. It tells what it sees:
    register it as the outermost. When the level is not enabled it costs one check.
    """

    async def log(attempt: Attempt, call_next: Next) -> Outcome:
        if not logger.isEnabledFor(level):
            return await call_next(attempt)
        started = attempt.tools.clock.monotonic()
        try:
            outcome = await call_next(attempt)
        except BaseException as error:
            if not is_closing(error):
                tell(attempt, _ended_by(error, attempt), started)
            raise
        tell(attempt, outcome, started)
        return outcome

    def tell(attempt: Attempt, outcome: Outcome, started: float) -> None:
        job = attempt.job
        fields = {
            "job_id": job.id,
            "type": job.type,
            "queue": job.queue,
            "attempt": attempt.number,
            "status": type(outcome).__name__.lower(),
            "ran_ms": int((attempt.tools.clock.monotonic() - started) * 1000),
        }
        if isinstance(outcome, Failed):
            fields["error"] = f"{outcome.error.type}: {outcome.error.message}"
        logger.log(level, "job_ended", extra=fields)

    return log


def _ended_by(error: BaseException, attempt: Attempt) -> Outcome:
    """Name what an attempt comes to that ends with an exception: stopped from outside, or failed."""
    if is_cancellation(error):
        return attempt.late or attempt.stopped or Interrupted()
    return failure(error)


async def recover(attempt: Attempt, call_next: Next) -> Outcome:
    """Turn an exception of the middleware inside into a failed attempt with its traceback."""
    try:
        return await call_next(attempt)
    except Exception as error:  # noqa: BLE001 - what middleware raises is an outcome here
        return failure(error)


def time_limit(seconds: float) -> Middleware:
    """Limit every attempt that has no time limit of its own; what runs over it fails as `timeout`."""

    async def limit(attempt: Attempt, call_next: Next) -> Outcome:
        if attempt.job.policy.timeout_ms:
            return await call_next(attempt)
        with anyio.move_on_after(seconds):
            return await call_next(attempt)
        message = f"job {attempt.job.id} ran longer than the default limit of {seconds:g} s"
        error = ErrorInfo(type="TimeoutError", message=message)
        kinds = ("builtins.TimeoutError", "builtins.OSError", "builtins.Exception")
        return Failed(error=error, kinds=kinds, reason=Reason.TIMEOUT)

    return limit
