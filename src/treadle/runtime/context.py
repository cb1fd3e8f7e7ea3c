"""What a handler can ask and tell about its own attempt.

A handler gets its `Context` by type: `async def charge(ctx: Context, order: int)`. Callers of
`enqueue` do not pass it.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

import anyio.from_thread
import msgspec

from treadle.domain.limits import LOG_CHARS, RESULT_BYTES, clip
from treadle.errors import JobError
from treadle.runtime.failures import readable
from treadle.runtime.results import Results

if TYPE_CHECKING:
    from treadle.runtime.attempt import Attempt

P = ParamSpec("P")
T = TypeVar("T")

_NAME_CHARS = 128


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job is, as its handler tells it."""

    done: float
    total: float | None = None
    note: str = ""


class Context:
    """The running attempt of a handler. Every method but `step` may be called from any thread."""

    __slots__ = ("_attempt", "_steps")

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._steps: dict[str, bytes] | None = None

    @property
    def attempt(self) -> int:
        """Return the number of this attempt; the first is 1."""
        return self._attempt.number

    @property
    def max_attempts(self) -> int:
        """Return how many attempts the job may have."""
        return self._attempt.max_attempts

    @property
    def job_id(self) -> str:
        """Return the id of the job."""
        return self._attempt.job.id

    @property
    def idempotency_key(self) -> str:
        """Return a key that is the same on every attempt: hand it to services that take one."""
        return self._attempt.job.id

    @property
    def queue(self) -> str:
        """Return the queue of the job."""
        return self._attempt.job.queue

    @property
    def type(self) -> str:
        """Return the registered name of the handler."""
        return self._attempt.job.type

    @property
    def cancelled(self) -> bool:
        """Tell whether the attempt shall stop: cancelled, over its time limit, or the worker drains.

        A long sync handler looks at it now and then, and returns or raises when it is set; what it
        returns then is not taken for a result.
        """
        attempt = self._attempt
        if attempt.cancelled:
            attempt.noticed = True
        return attempt.cancelled

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Tell how far the job is; the last value reaches the broker at most once a second."""
        told = Progress(done=done, total=total, note=clip(readable(note), LOG_CHARS))
        self._attempt.tools.notes.progress(self._attempt.lease, msgspec.json.encode(told))

    def log(self, text: str) -> None:
        """Keep a line with the job; the last 1,000 can be read by its id.

        What is no text is kept as `str` writes it: a log line must not fail an attempt.
        """
        self._attempt.tools.notes.log(self._attempt.lease, clip(readable(str(text)), LOG_CHARS))

    @overload
    async def step(
        self, name: str, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    @overload
    async def step(
        self, name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    async def step(
        self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        """Call `function` once for this job, however many attempts it takes.

        Its result is stored before this returns; a later attempt gets the stored one without a
        call. A crash between the call and the store runs it again: hand it `idempotency_key`. A
        sync function runs in a thread. What comes back went through JSON, on every attempt alike.

        Raises:
            LeaseLost: if the attempt no longer owns its job; nothing was stored.
            JobError: if the result cannot be written as JSON.
        """
        if not 1 <= len(name) <= _NAME_CHARS:
            raise JobError(f"job {self.job_id}: a step's name has 1 to {_NAME_CHARS} characters")
        notes, lease = self._attempt.tools.notes, self._attempt.lease
        if self._steps is None:
            self._steps = await notes.steps(lease)
        results = Results(function)
        stored = self._steps.get(name)
        if stored is None:
            value = await self._call(function, args, kwargs)
            stored = await notes.step(lease, name, _written(results, value, name, self.job_id))
            self._steps[name] = stored
        return results.decode(stored)

    async def _call(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if inspect.iscoroutinefunction(function):
            return await function(*args, **kwargs)
        attempt = self._attempt
        value: Any = await attempt.tools.threads.run(function, attempt, *args, **kwargs)
        return await value if inspect.isawaitable(value) else value

    def run_async(
        self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run an async function on the worker's loop from a sync handler, and wait for it.

        This is how a sync handler makes a step: `ctx.run_async(ctx.step, "charge", charge, 42)`.
        """

        async def call() -> T:
            return await function(*args, **kwargs)

        return anyio.from_thread.run(call, token=self._attempt.tools.threads.token)


def _written(results: Results, value: Any, name: str, job_id: str) -> bytes:
    try:
        data = results.strict(value)
    except Exception as error:
        raise JobError(
            f"job {job_id}: the result of step {name!r} cannot be written as JSON: {error}"
        ) from error
    if len(data) > RESULT_BYTES:
        raise JobError(
            f"job {job_id}: the result of step {name!r} has {len(data):,} bytes, "
            f"the limit is {RESULT_BYTES:,}: store it elsewhere and return a reference"
        )
    return data
