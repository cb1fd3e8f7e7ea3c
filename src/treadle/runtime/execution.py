"""How an attempt calls its handler: one way for each kind of function, chosen when it is registered.

Each way is an async function `attempt -> outcome`, the innermost of the middleware chain. What it
never does is turn a cancellation into an outcome: that goes on to the worker, which knows why it
cancelled. Everything else that a handler raises becomes an outcome here.

The plain ways (no Context, nothing provided) are the hot path: decode, call, encode, and no await but
the handler's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from copy import copy
from functools import partial
from typing import Any, Literal

import anyio

from treadle.domain.outcome import Outcome, Succeeded
from treadle.errors import ConfigurationError
from treadle.runtime.arguments import Arguments
from treadle.runtime.attempt import Attempt, Next
from treadle.runtime.context import Context
from treadle.runtime.depends import plan
from treadle.runtime.failures import failure, is_cancellation, is_closing
from treadle.runtime.results import Results

RunIn = Literal["loop", "thread", "process"]

TEARDOWN_S = 5.0
"""How long dependencies may take to be torn down after a failure or a cancellation."""

_NOTHING = Succeeded()


class Execution:
    """Runs attempts of one function, and calls it plainly with what it wants provided."""

    def __init__(
        self, function: Callable[..., Any], arguments: Arguments, results: Results
    ) -> None:
        self.function = function
        self.plan = arguments.signature.plan
        """What is provided beside the arguments."""
        self._arguments = arguments
        self._results = results
        self._by_position = arguments.signature.calls_by_position
        self._positional_only = arguments.signature.positional_only

    def choose(self, run_in: RunIn) -> Next:
        """Return the way in which attempts run.

        Raises:
            ConfigurationError: if what is provided cannot be waited for there.
        """
        if inspect.iscoroutinefunction(self.function):
            return self._plain() if self._by_position else self._provided
        if run_in == "thread":
            return self._in_thread if self.plan.is_sync else self._in_thread_provided
        if run_in == "process":
            return _in_process
        if not self.plan.is_sync:
            raise ConfigurationError(
                f"handler {self._results.name!r}: with run_in='loop' a sync handler can have only "
                "sync dependencies"
            )
        return self._inline

    def _plain(self) -> Next:
        """Return the hot path; what it needs is in its closure, not behind attributes."""
        function: Callable[..., Awaitable[Any]] = self.function
        decode = self._arguments.by_position
        rejected = self._arguments.rejected
        encode = self._results.encode

        async def run(attempt: Attempt) -> Outcome:
            payload = attempt.job.payload
            try:
                arguments = decode(payload)
            except Exception as error:  # noqa: BLE001 - types of the user check themselves
                return rejected(payload, error)
            try:
                value = await function(*arguments)
            except BaseException as error:
                if _ends_task(error):
                    raise
                return failure(error)
            return _NOTHING if value is None else Succeeded(result=encode(value))

        return run

    async def _provided(self, attempt: Attempt) -> Outcome:
        try:
            arguments = self._arguments.by_name(attempt.job.payload)
        except Exception as error:  # noqa: BLE001 - types of the user check themselves
            return self._arguments.rejected(attempt.job.payload, error)
        try:
            value = await self.call_async(Context(attempt), arguments, attempt)
        except BaseException as error:
            if _ends_task(error):
                raise
            return failure(error)
        return Succeeded(result=self._results.encode(value))

    async def call_async(
        self, context: Context, arguments: dict[str, Any], attempt: Attempt, /
    ) -> Any:
        """Call an async function with its arguments and what is provided to it."""
        if not self.plan.steps:
            return await self._call(arguments | self.plan.only_context(context))

        async def call(provided: dict[str, Any]) -> Any:
            return await self._call(arguments | provided)

        return await self._with_provided(context, attempt, call)

    def call_sync(self, context: Context, arguments: dict[str, Any]) -> Any:
        """Call a sync function in this thread; what is provided must be sync too."""
        if not self.plan.steps:
            return self._call(arguments | self.plan.only_context(context))
        error: BaseException | None = None
        value: Any = None
        with ExitStack() as stack:
            try:
                value = self._call(arguments | self.plan.provide(context, stack))
            except BaseException as raised:
                error = raised
                raise
        if error is not None:
            raise error  # a dependency swallowed it; the attempt failed all the same
        return value

    def _run_here(self, attempt: Attempt) -> Outcome:
        """Run an attempt of a sync function in this thread, from payload to outcome."""
        payload = attempt.job.payload
        function = self.function
        arguments = self._arguments
        try:
            if self._by_position:
                call = partial(function, *arguments.by_position(payload))
            else:
                call = partial(self.call_sync, Context(attempt), arguments.by_name(payload))
        except Exception as error:  # noqa: BLE001 - types of the user check themselves
            return arguments.rejected(payload, error)
        try:
            value = call()
        except BaseException as error:  # noqa: BLE001 - user code
            return failure(error)
        return _NOTHING if value is None else Succeeded(result=self._results.encode(value))

    async def _inline(self, attempt: Attempt) -> Outcome:
        return self._run_here(attempt)

    async def _in_thread(self, attempt: Attempt) -> Outcome:
        def run() -> Outcome:
            return _kept(attempt, self._run_here(attempt))

        return await attempt.tools.threads.call(run, attempt)

    async def _in_thread_provided(self, attempt: Attempt) -> Outcome:
        payload = attempt.job.payload
        try:
            arguments = self._arguments.by_name(payload)
        except Exception as error:  # noqa: BLE001 - types of the user check themselves
            return self._arguments.rejected(payload, error)
        threads = attempt.tools.threads

        async def call(provided: dict[str, Any]) -> Any:
            return await threads.call(lambda: self._call(arguments | provided), attempt)

        try:
            value = await self._with_provided(Context(attempt), attempt, call)
        except BaseException as error:
            if _ends_task(error):
                raise
            return failure(error)
        return Succeeded(result=self._results.encode(value))

    async def _with_provided(
        self,
        context: Context,
        attempt: Attempt,
        call: Callable[[dict[str, Any]], Awaitable[Any]],
    ) -> Any:
        """Provide, call, tear down; teardown after a failure is shielded for some seconds."""
        stack = AsyncExitStack()
        try:
            threads = attempt.tools.threads
            value = await call(await self.plan.provide_async(context, stack, threads))
        except BaseException as error:
            with anyio.move_on_after(TEARDOWN_S, shield=True):
                await stack.__aexit__(type(error), error, error.__traceback__)
            raise
        await stack.aclose()
        return value

    def given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return what a plain call gives, by parameter; a first Context is the handler's own."""
        signature = self._arguments.signature
        own = {name: value for name, value in kwargs.items() if name in signature.wanted}
        rest = {name: value for name, value in kwargs.items() if name not in own}
        if args and isinstance(args[0], Context):
            own |= {name: args[0] for name, wish in signature.wanted.items() if wish is None}
            args = args[1:]
        bound = self._arguments.bind(args, rest)
        return own | ({signature.whole: bound} if signature.whole else bound)

    def without(self, given: dict[str, Any]) -> Execution:
        """Return an execution that provides only what was not given."""
        other = copy(self)
        wanted = self._arguments.signature.wanted
        missing = {name: wish for name, wish in wanted.items() if name not in given}
        other.plan = plan(self._results.name, missing)
        return other

    def _call(self, named: dict[str, Any]) -> Any:
        if not self._positional_only:
            return self.function(**named)
        first = [named.pop(name) for name in self._positional_only]
        return self.function(*first, **named)


async def _in_process(attempt: Attempt) -> Outcome:
    return await attempt.tools.processes.run(attempt)


def _ends_task(error: BaseException) -> bool:
    """Tell whether an exception asks this task to end: it is no outcome of the attempt then."""
    return is_closing(error) or is_cancellation(error)


def _kept(attempt: Attempt, outcome: Outcome) -> Outcome:
    """Leave the outcome where a worker finds it that no longer waits for the thread.

    A handler that saw the stop ended early: what it returned then is no result.
    """
    if not (attempt.cancelled and attempt.noticed):
        attempt.late = outcome
    return outcome
