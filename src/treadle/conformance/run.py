"""Run one case against a broker that may do anything: hang, block the loop, raise, answer nonsense.

Each case has a thread and an event loop of its own. A case that is over its time is cancelled; one
that cannot even be cancelled is left behind in its thread, which does not keep the process alive.
"""

from __future__ import annotations

import threading
import time
from functools import partial

import anyio
from msgspec import Struct

from treadle.broker.base import Capability
from treadle.conformance.case import Case
from treadle.conformance.explain import explain, innermost
from treadle.conformance.lab import Lab
from treadle.conformance.report import Result, Row
from treadle.conformance.subject import CLEAN_UP_S, SHORT_TICK_MS, Subject

LONGER_TICKS = 5
"""A case that counted in short ticks and failed is tried again with ticks so many times as long."""
SLOWER = 3
"""How many times longer a case may take where it really has to wait."""
STOP_S = 1.0
"""How long a cancelled case may take to end, beside erasing its store."""
FEW, MANY = 3, 12
"""After a few cases that hung the next ones get less time; after many no more are run."""
IMPATIENT_S = 2.0


class Finished(Struct, frozen=True, kw_only=True):
    """What became of a case, with the error itself for who wants to show where it came from."""

    row: Row
    error: BaseException | None = None
    hung: bool = False
    movable: bool = True
    capabilities: frozenset[Capability] = frozenset()
    """As the broker named them; empty if none could be made."""


class Patience:
    """Keeps a broker that hangs in every call from holding up the whole run."""

    def __init__(self, limit_s: float | None = None) -> None:
        self._limit_s = limit_s
        self._hung = 0

    @property
    def is_over(self) -> bool:
        """Tell whether so many cases hung that the rest would say nothing new."""
        return self._hung >= MANY

    def limit_s(self, case: Case) -> float:
        """Return how long a case may take now."""
        limit = case.limit_ms / 1_000 if self._limit_s is None else self._limit_s
        return limit if self._hung < FEW else min(limit, IMPATIENT_S)

    def learn(self, finished: Finished) -> None:
        """Take note of a case that was run."""
        self._hung += finished.hung


class _Skip(Exception):
    """The broker does not promise what the case shows."""


class _Watch:
    """What a case's thread has to say, also when it never ends."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.movable = True
        self.counted = False
        self.ended = False
        self.timed_out = False
        self.skipped = ""
        self.capabilities: frozenset[Capability] = frozenset()


def run_case(
    subject: Subject, case: Case, backend: str = "asyncio", patience: Patience | None = None
) -> Finished:
    """Run a case on an event loop of its own; return in bounded time, whatever the broker does."""
    patience = patience or Patience()
    if patience.is_over:
        detail = f"not run: {MANY} cases before it did not end in their time"
        return Finished(row=Row.of(case, backend, Result.FAILED, detail))
    finished = _run(subject, case, backend, patience.limit_s(case), SHORT_TICK_MS)
    patience.learn(finished)
    return finished


def _run(subject: Subject, case: Case, backend: str, limit_s: float, tick_ms: int) -> Finished:
    started = time.monotonic()
    watch = _watched(subject, case, backend, limit_s, tick_ms)
    result, detail = Result.PASSED, ""
    if watch.skipped:
        result, detail = Result.SKIPPED, watch.skipped
    elif watch.error is not None:
        detail = _detail(watch, limit_s)
        may_be_slow = watch.counted and not watch.movable and not watch.timed_out
        if may_be_slow and tick_ms == SHORT_TICK_MS:
            # The machine may have been busy for longer than a tick: the broker gets the doubt once.
            again = _run(subject, case, backend, limit_s, tick_ms * LONGER_TICKS)
            if again.row.result is not Result.PASSED:
                return again
            watch.error = None
            detail = f"passed with longer ticks only; before: {detail}"
        else:
            result = Result.FAILED
    took_ms = round((time.monotonic() - started) * 1_000)
    return Finished(
        row=Row.of(case, backend, result, detail, took_ms),
        error=watch.error,
        # A broker may make another error of its cancellation.
        hung=watch.timed_out or (result is Result.FAILED and took_ms >= limit_s * 1_000),
        movable=watch.movable,
        capabilities=watch.capabilities,
    )


def _detail(watch: _Watch, limit_s: float) -> str:
    assert watch.error is not None
    text = explain(watch.error)
    return f"did not end in {limit_s:g} s\n{text}" if watch.timed_out else text


def _watched(subject: Subject, case: Case, backend: str, limit_s: float, tick_ms: int) -> _Watch:
    watch = _Watch()
    body = partial(_body, subject, case, backend, limit_s, tick_ms, watch)

    def run() -> None:
        try:
            anyio.run(body, backend=backend)
        except BaseException as error:  # noqa: BLE001 - also SystemExit must not pass for success
            reason = innermost(error)
            if isinstance(reason, _Skip):
                watch.skipped = str(reason)
            else:
                watch.error = error

    thread = threading.Thread(target=run, name=f"conformance-{case.id}", daemon=True)
    thread.start()
    if _has_ended(thread, watch, limit_s):
        return watch
    left = _Watch()
    left.movable, left.timed_out = watch.movable, True
    left.error = TimeoutError("it blocks its event loop or does not let itself be cancelled")
    return left


def _has_ended(thread: threading.Thread, watch: _Watch, limit_s: float) -> bool:
    """Wait for a thread no longer than what it does may take."""
    thread.join(limit_s + STOP_S)
    if thread.is_alive() and not watch.movable:
        thread.join(limit_s * (SLOWER - 1))
    if thread.is_alive() and watch.ended:
        thread.join(CLEAN_UP_S + STOP_S)
    return not thread.is_alive()


async def _body(
    subject: Subject, case: Case, backend: str, limit_s: float, tick_ms: int, watch: _Watch
) -> None:
    """Open a lab and run the case in it, each within its time."""
    where: BaseException | None = None
    with anyio.CancelScope(deadline=anyio.current_time() + limit_s) as scope:
        try:
            async with Lab.open(subject, backend, tick_ms) as lab:
                watch.movable = lab.place.movable
                watch.capabilities = frozenset(lab.broker.capabilities)
                missing = sorted(case.needs - watch.capabilities)
                if missing:
                    raise _Skip(f"the broker has no {', '.join(missing)}")
                slower = 1 if watch.movable else SLOWER
                scope.deadline = anyio.current_time() + limit_s * slower
                try:
                    await case.run(lab)
                finally:
                    watch.counted, watch.ended = lab.counted, True
        except anyio.get_cancelled_exc_class() as cancelled:
            where = cancelled
            raise
    if where is not None:
        watch.timed_out = True
        # The line at which it was cancelled says which call did not return.
        raise TimeoutError("the call did not return").with_traceback(where.__traceback__)
