"""Virtual time for both event loops: nothing sleeps, time jumps to the next thing that is due.

`VirtualLoop` is asyncio's own loop with a clock that jumps: threads, sockets and child processes
work on it. `SeededLoop` has none of these and is deterministic in return: what is ready at the same
moment runs in an order that only its seed decides, and every step can be held back on behalf of a
simulated process (`OWNER`) that was stopped or killed between two of them.

The only file of Treadle that knows asyncio: a loop can be replaced only by one.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - see above
import contextvars
import heapq
import math
import selectors
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from itertools import count
from random import Random
from typing import Any, Protocol, TypeVarTuple, cast

import anyio

Ts = TypeVarTuple("Ts")

EPOCH_MS = 1_800_000_000_000
"""Wall-clock time at the start of virtual time."""


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
        """Return virtual seconds since the loop was made."""
        return self._jumping.now


def virtual_backends() -> list[Any]:
    """Return parameters for the `anyio_backend` fixture: asyncio and trio on virtual time."""
    clock = import_module("trio.testing").MockClock(autojump_threshold=0)
    return [("asyncio", {"loop_factory": VirtualLoop}), ("trio", {"clock": clock})]


class LoopClock:
    """A clock that shows the running loop's time, moved by `skew_ms`."""

    def __init__(self) -> None:
        self.skew_ms = 0

    def time_ms(self) -> int:
        """Return ms since the Unix epoch; they begin at `EPOCH_MS`."""
        return EPOCH_MS + self.skew_ms + round(anyio.current_time() * 1000)

    def monotonic(self) -> float:
        """Return the loop's time in seconds."""
        return anyio.current_time()


class Owner(Protocol):
    """A simulated process: it says which of its steps may be taken."""

    def admits(self, step: Step) -> bool:
        """Tell whether the step may be taken now; keep it if not."""
        ...


OWNER: ContextVar[Owner | None] = ContextVar("treadle_owner", default=None)
"""The simulated process in whose name code runs; tasks and callbacks inherit it."""

_NO_TASK = -1
_MOST_STEPS = 100_000
"""So many callbacks in a row without time passing are a loop without an end."""


class Restless(RuntimeError):
    """Something goes round without ever waiting, or waits for what cannot come."""


class Step(asyncio.TimerHandle):
    """One callback that a loop shall run: when, on whose behalf, and the number of its task."""

    # As lean as a handle can be: a run makes thousands, and nobody debugs them one by one.
    __slots__ = ("args", "callback", "context", "is_cancelled", "owner", "task", "time")

    def __init__(
        self,
        time: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
        task: int,
    ) -> None:
        self.time = time
        self.callback = callback
        self.args = args
        self.context = contextvars.copy_context() if context is None else context
        self.is_cancelled = False
        self.owner = self.context.get(OWNER)
        self.task = task

    def __repr__(self) -> str:
        return f"<Step of {self.owner} at {self.time:.6f} s>"

    def cancel(self) -> None:
        """Let it be passed over when its time comes."""
        self.is_cancelled = True
        self.callback, self.args = _nothing, ()

    def cancelled(self) -> bool:
        """Tell whether it was cancelled."""
        return self.is_cancelled

    def when(self) -> float:
        """Return its time."""
        return self.time


def _nothing() -> None:
    """Stand where a callback was."""


class _Task(asyncio.Task[Any]):
    """A task with a number, which orders tasks alike in every run."""

    def __init__(self, coro: Any, *, number: int, **given: Any) -> None:
        self.number = number
        super().__init__(coro, **given)


class SeededLoop(asyncio.BaseEventLoop):
    """An asyncio loop on virtual time, without threads and sockets, whose every run is its seed's."""

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self._rng = rng
        self._now = 0.0
        self._waiting: list[Step] = []
        self._timed: list[tuple[float, int, Step]] = []
        self._numbers = count()
        self._tasks = count()
        self._jumped = 0
        self.steps = 0
        """How many callbacks were run."""
        self.set_task_factory(cast("Any", self._make_task))

    def time(self) -> float:
        """Return virtual seconds since the loop was made."""
        return self._now

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Run `callback` in one of the next turns."""
        number = getattr(getattr(callback, "__self__", None), "number", _NO_TASK)
        step = Step(self._now, callback, args, context, number)
        self._waiting.append(step)
        return step

    def call_soon_threadsafe(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Do the same; there is no other thread."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run `callback` when `delay` seconds of virtual time are over."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run `callback` at an instant of virtual time."""
        step = Step(when, callback, args, context, _NO_TASK)
        heapq.heappush(self._timed, (when, next(self._numbers), step))
        return step

    def give_back(self, steps: Sequence[Step]) -> None:
        """Take steps that an owner had kept; they come in the order in which it kept them."""
        self._waiting.extend(steps)

    def _make_task(self, loop: asyncio.AbstractEventLoop, coro: Any, **given: Any) -> _Task:
        return _Task(coro, loop=loop, number=next(self._tasks), **given)

    def _asyncgen_finalizer_hook(self, agen: object) -> None:
        """Leave an abandoned generator to itself: when garbage is collected is no matter of the seed."""

    def _run_once(self) -> None:
        if not self._waiting:
            self._jump()
            self._jumped = self.steps
        elif self.steps - self._jumped > _MOST_STEPS:
            raise Restless(f"{_MOST_STEPS} steps without an end, at {self._now:.6f} s")
        batch, self._waiting = self._waiting, []
        if len(batch) > 1:
            # Sets of tasks have no order of their own: numbers give one before chance does.
            batch.sort(key=_task_number)
            self._rng.shuffle(batch)
        for step in batch:
            owner = step.owner
            if step.is_cancelled or (owner is not None and not owner.admits(step)):
                continue
            self.steps += 1
            try:
                step.context.run(step.callback, *step.args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 - what asyncio does with it
                self.call_exception_handler({"message": f"{step} failed", "exception": error})

    def _jump(self) -> None:
        """Go to the next instant at which something is due."""
        timed = self._timed
        while timed and timed[0][2].is_cancelled:
            heapq.heappop(timed)
        if not timed or timed[0][0] == math.inf:
            raise Restless("everything waits, and nothing is left that could happen")
        self._now = max(self._now, timed[0][0])
        while timed and timed[0][0] <= self._now:
            self._waiting.append(heapq.heappop(timed)[2])


def _task_number(step: Step) -> int:
    return step.task


def give_back(steps: Sequence[Step]) -> None:
    """Let the running `SeededLoop` take steps again that an owner had kept."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SeededLoop)  # noqa: S101 - only it hands out steps
    loop.give_back(steps)


def timers() -> tuple[Callable[[], float], Callable[[float, Callable[[], None]], object]] | None:
    """Return the running loop's clock and timers, if it is a `SeededLoop`; they serve no owner."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    assert isinstance(loop, SeededLoop)  # noqa: S101 - simulations run on no other
    nobody = contextvars.Context()

    def call_later(delay: float, function: Callable[[], None]) -> object:
        return loop.call_later(delay, function, context=nobody)

    return loop.time, call_later


@contextmanager
def seeded_trio(seed: int) -> Generator[Any]:
    """Make trio's scheduler take its order from a seed; gives the clock to run on."""
    run: Any = import_module("trio._core._run")
    allowed, state = run._ALLOW_DETERMINISTIC_SCHEDULING, run._r.getstate()  # noqa: SLF001 - trio offers no other way
    run._ALLOW_DETERMINISTIC_SCHEDULING = True  # noqa: SLF001
    run._r.seed(seed)  # noqa: SLF001
    try:
        yield import_module("trio.testing").MockClock(autojump_threshold=0)
    finally:
        run._ALLOW_DETERMINISTIC_SCHEDULING = allowed  # noqa: SLF001
        run._r.setstate(state)  # noqa: SLF001
