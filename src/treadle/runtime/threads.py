"""Threads for sync handlers: a bounded pool that costs a microsecond or two per job.

Theory of operation. The loop puts a call into a `SimpleQueue`; a daemon thread takes it, runs it in a
copy of the caller's context, appends it to a deque of completions and wakes the loop, unless a
wake-up is already on its way. One wake-up drains all completions, so many short jobs share it.

A thread cannot be killed. When the task that waits for a call is cancelled, the attempt is told to
stop and the thread gets some seconds to come to an end; then it is abandoned and replaced, and
counted as long as it goes on. A call that no thread has taken yet is simply revoked. All
bookkeeping happens on the loop; the only thing decided between threads is who takes a call, by
popping its one ticket.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any, ParamSpec, Protocol, Self, TypeVar, cast

import anyio
from anyio.lowlevel import EventLoopToken, current_token

from treadle.broker.loop import LoopHandle
from treadle.errors import ConfigurationError

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE_S = 5.0
"""How long a thread may go on after its attempt was told to stop."""


class Stoppable(Protocol):
    """What is told when nobody waits for a call any more; an attempt is one."""

    def stop(self) -> None:
        """Ask the work to stop."""
        ...


class _Future(Protocol):
    def __await__(self) -> Any: ...

    def done(self) -> bool: ...

    def set_result(self, result: None, /) -> None: ...


class _Call:
    """One function on its way through a thread."""

    __slots__ = (
        "abandoned",
        "context",
        "done",
        "error",
        "event",
        "function",
        "future",
        "ticket",
        "value",
    )

    def __init__(self, context: Context, function: Callable[[], Any]) -> None:
        self.context = context
        self.function = function
        self.ticket = [True]
        self.future: _Future | None = None
        self.event: anyio.Event | None = None
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.abandoned = False

    def take(self) -> bool:
        """Become the one who runs or revokes it."""
        try:
            return self.ticket.pop()
        except IndexError:
            return False

    def run(self) -> None:
        try:
            self.value = self.context.run(self.function)
        except BaseException as error:  # noqa: BLE001 - user code; raised again where it is awaited
            self.error = error

    def wake(self) -> None:
        """Wake the task that waits, if it still does."""
        future = self.future
        # A cancelled task's future is done, although the task has not run since.
        if future is not None and not future.done():
            future.set_result(None)
        if self.event is not None:
            self.event.set()


class ThreadPool:
    """Runs sync functions in at most `size` daemon threads of one event loop.

    `abandoned` counts threads that were given up and still run: they are not part of the pool.
    """

    def __init__(self, size: int, *, patience: float = PATIENCE_S) -> None:
        self.size = size
        self.abandoned = 0
        self.patience = patience
        """How long a call that nobody waits for any more may go on, in seconds."""
        self._queue: SimpleQueue[_Call | None] = SimpleQueue()
        self._finished: deque[_Call] = deque()
        self._armed = False
        self._threads = 0
        self._is_closed = False
        self._outstanding = 0
        self._token: EventLoopToken | None = None
        self._post: Callable[[Callable[[], object]], bool] = _nowhere
        self._new_future: Callable[[], _Future] | None = None

    async def __aenter__(self) -> Self:
        self._bind()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    @property
    def token(self) -> EventLoopToken:
        """Return the token of its loop: `anyio.from_thread.run(..., token=pool.token)`."""
        if self._token is None:
            raise ConfigurationError("the thread pool was not used on an event loop yet")
        return self._token

    def close(self) -> None:
        """Let idle threads end; busy ones end after their call. Calling twice is harmless."""
        self._is_closed = True
        for _ in range(self._threads):
            self._queue.put(None)
        self._threads = 0

    async def run(
        self,
        function: Callable[P, T],
        stoppable: Stoppable | None,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `function` in a thread, in a copy of this context; return or raise what it does.

        If cancelled, `stoppable` is told to stop and the thread gets some seconds to end before
        the cancellation goes on; after that it is abandoned and replaced.
        """
        if args or kwargs:
            return await self.call(lambda: function(*args, **kwargs), stoppable)
        return await self.call(cast("Callable[[], T]", function), stoppable)

    async def call(self, function: Callable[[], T], stoppable: Stoppable | None) -> T:
        """Do the same for a function without arguments, a little faster."""
        if self._token is None:
            self._bind()
        call = _Call(copy_context(), function)
        self._outstanding += 1
        if self._outstanding > self._threads and self._threads < self.size:
            self._start_thread()
        try:
            if self._new_future is not None:
                call.future = future = self._new_future()
                self._queue.put(call)
                await future
            else:
                call.event = event = anyio.Event()
                self._queue.put(call)
                await event.wait()
        except BaseException:
            if not call.done:
                await self._give_up(call, stoppable)
            raise
        if call.error is not None:
            raise call.error
        return cast("T", call.value)

    async def _give_up(self, call: _Call, stoppable: Stoppable | None) -> None:
        if stoppable is not None:
            stoppable.stop()
        if call.take():
            self._outstanding -= 1
            return
        with anyio.move_on_after(self.patience, shield=True):
            while not call.done:
                call.event = anyio.Event()
                await call.event.wait()
        if not call.done:
            call.abandoned = True
            self.abandoned += 1
            self._outstanding -= 1
            self._threads -= 1

    def _bind(self) -> None:
        self._token = current_token()
        self._post = LoopHandle().post
        # A bare future of the loop costs half of an anyio.Event; trio has no such thing.
        self._new_future = getattr(self._token.native_token, "create_future", None)

    def _start_thread(self) -> None:
        self._is_closed = False
        self._threads += 1
        threading.Thread(target=self._work, name="treadle-handler", daemon=True).start()

    def _work(self) -> None:
        take_next = self._queue.get
        while (call := take_next()) is not None:
            if call.take():
                call.run()
                self._finish(call)
            del call  # its result shall not live until the next job

    def _finish(self, call: _Call) -> None:
        self._finished.append(call)
        # The loop disarms before it drains: whoever still sees it armed was in time.
        if not self._armed:
            self._armed = True
            if not self._post(self._drain):
                self._armed = False
                self._queue.put(None)  # the loop has ended: nobody will ask for a thread again

    def _drain(self) -> None:
        self._armed = False
        finished = self._finished
        while finished:
            call = finished.popleft()
            call.done = True
            if call.abandoned:
                self._come_back()
                continue
            self._outstanding -= 1
            call.wake()

    def _come_back(self) -> None:
        """Count a thread that was abandoned among the others again, or let one go."""
        self.abandoned -= 1
        if self._is_closed or self._threads >= self.size:
            self._queue.put(None)
        else:
            self._threads += 1


def _nowhere(_: Callable[[], object]) -> bool:
    return False
