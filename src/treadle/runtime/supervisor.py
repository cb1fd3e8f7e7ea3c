"""N worker processes, restarted in place: same name, so each takes over its own leases.

The supervisor runs nothing itself. It starts its children, starts one again that died, a little later
each time it dies young, passes SIGTERM and SIGINT on, and ends when all children have ended
after a signal. A child that is still there 2 s after the grace period hangs and is killed: its leases tell
the others. A child that ends with exit code 0 without a signal is done (burst mode).
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from math import inf
from types import FrameType
from typing import Any

from msgspec import Struct

from treadle.broker.base import Clock
from treadle.domain.retry import Exponential, Jitter, Rng, delay_ms
from treadle.runtime.ending import signal_name
from treadle.runtime.options import WorkerOptions
from treadle.runtime.stopping import EarlySignals

logger = logging.getLogger("treadle.supervisor")

_RESTART = Exponential(base_ms=100, cap_ms=10_000, jitter=Jitter.EQUAL)
_YOUNG_S = 10.0
_TICK_S = 0.05
_AFTER_GRACE_S = 2.0
"""How long after the grace period a child may still be there."""
_HOPELESS = frozenset({2, 3, 5})
"""Exit codes of `qrun` that no restart can heal: wrong usage, no app, a missing plugin."""
_UNBEGUN = frozenset({-signal.SIGTERM, -signal.SIGINT, 130})
"""Exit codes of a child that a signal met before it could heed one: it had nothing to drain yet."""
_PARENT = "TREADLE_SUPERVISOR"
"""The variable that tells a child the process id of its supervisor."""


def take_parent() -> int:
    """Return the process id of this process's supervisor, 0 if it has none; once.

    What this process starts shall not take the supervisor for its own.
    """
    told = os.environ.pop(_PARENT, "")
    return int(told) if told.isdecimal() else 0


class Child(Struct):
    """One place of the supervisor: its name, and the process that fills it now."""

    name: str
    command: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    young_deaths: int = 0
    not_before: float = 0.0
    restarts: int = 0
    done: bool = False
    exit_code: int = 0


class Supervisor:
    """Keeps one process per name alive; `command(name)` gives the command line of a child."""

    def __init__(
        self,
        command: Callable[[str], Sequence[str]],
        names: Sequence[str],
        *,
        clock: Clock,
        rng: Rng,
        grace_ms: int = WorkerOptions().grace_ms,
    ) -> None:
        self.children = [Child(name, tuple(command(name))) for name in names]
        self._clock = clock
        self._rng = rng
        self._signals: list[int] = []
        self._stopping = False
        self._grace_s = grace_ms / 1000
        self._kill_at = inf
        self._wake = threading.Event()

    def run(self, early: EarlySignals | None = None) -> int:
        """Run until every child has ended; return the worst of their exit codes.

        Signals are taken over only in the main thread; elsewhere call `stop`. Those that `early`
        kept come first.
        """
        before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                before[number] = signal.signal(number, self._on_signal)
        if early is not None:
            self._signals += early.take()
        try:
            while not self._finished():
                self._pass_on()
                self._tend()
                self._wake.wait(_TICK_S)
                self._wake.clear()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._kill_rest()
        return max((child.exit_code for child in self.children), default=0)

    def stop(self) -> None:
        """Drain all children; callable from any thread, a second call hurries them."""
        self._signals.append(signal.SIGTERM)
        self._wake.set()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        # No lock may be taken here: the main thread that it interrupts may hold it.
        self._signals.append(number)

    def _finished(self) -> bool:
        return not self._signals and all(child.done for child in self.children)

    def _pass_on(self) -> None:
        while self._signals:
            self._pass(self._signals.pop(0))

    def _pass(self, number: int) -> None:
        self._expect_the_end()
        for child in self.children:
            if child.process is None:
                child.done = True
            elif child.process.poll() is None:
                child.process.send_signal(number)

    def _expect_the_end(self) -> None:
        """Give the children their grace period; none at the second signal."""
        now = self._clock.monotonic()
        grace_s = 0.0 if self._stopping else self._grace_s
        self._kill_at = min(self._kill_at, now + grace_s + _AFTER_GRACE_S)
        self._stopping = True

    def _tend(self) -> None:
        now = self._clock.monotonic()
        if now >= self._kill_at:
            self._kill_at = inf
            self._kill()
        for child in self.children:
            if child.done:
                continue
            if child.process is None:
                if now >= child.not_before:
                    self._start(child, now)
            elif child.process.poll() is not None:
                self._ended(child, child.process.returncode, now)

    def _start(self, child: Child, now: float) -> None:
        try:
            child.process = subprocess.Popen(  # noqa: S603 - our own command line
                child.command,
                start_new_session=True,
                env={**os.environ, _PARENT: str(os.getpid())},
            )
        except OSError as error:  # no memory, no processes left, an interpreter being replaced
            child.young_deaths += 1
            self._start_later(child, now, f"not started: {error}")
        else:
            child.started = now

    def _ended(self, child: Child, code: int, now: float) -> None:
        child.process = None
        if code in _HOPELESS and not self._stopping:
            self._pass(signal.SIGTERM)  # the others were started with the same command line
        if self._stopping or code == 0:
            child.done = True
            if not (self._stopping and code in _UNBEGUN):
                child.exit_code = code if code >= 0 else 128 - code
            return
        child.young_deaths = child.young_deaths + 1 if now - child.started < _YOUNG_S else 0
        died = signal_name(-code) if code < 0 else f"exit code {code}"
        self._start_later(child, now, died)

    def _start_later(self, child: Child, now: float, died: str) -> None:
        delay = (
            delay_ms(_RESTART, child.young_deaths, 0, self._rng) if child.young_deaths > 1 else 0
        )
        child.not_before = now + delay / 1000
        child.restarts += 1
        logger.warning(
            "child_restarted", extra={"worker": child.name, "died": died, "delay_ms": delay}
        )

    def _kill(self) -> None:
        for child in self.children:
            if child.process is not None and child.process.poll() is None:
                logger.error("child_killed", extra={"worker": child.name})
                child.process.kill()

    def _kill_rest(self) -> None:
        """End what is left when the supervisor itself fails: no child outlives it unwatched."""
        for child in self.children:
            if child.process is not None and child.process.poll() is None:
                child.process.terminate()
