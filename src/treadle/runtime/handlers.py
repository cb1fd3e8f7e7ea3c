"""Handlers: a function registered under a name, its defaults, and how it runs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar, cast

from treadle.domain.job import Policy, Priority
from treadle.domain.limits import NAME
from treadle.errors import ConfigurationError
from treadle.runtime import detached
from treadle.runtime.arguments import Arguments
from treadle.runtime.attempt import Next
from treadle.runtime.enqueuer import Enqueuer, Target
from treadle.runtime.execution import Execution, RunIn
from treadle.runtime.job_options import HandlerOptions, Options
from treadle.runtime.results import Results
from treadle.runtime.signature import read

if TYPE_CHECKING:
    from treadle.runtime.registry import Registry

P = ParamSpec("P")
R = TypeVar("R")


class Handler(Enqueuer[P, R]):
    """The function that runs jobs of one type, and the way to enqueue them.

    `run` is the innermost part of the middleware chain: it never raises but for cancellation.
    `run_in_child` is what a child process runs in its place.
    """

    __name__: str
    run: Next
    run_in_child: Next

    def __init__(
        self,
        registry: Registry,
        name: str,
        function: Callable[..., Any],
        *,
        run_in: RunIn | None,
        given: HandlerOptions,
    ) -> None:
        if not NAME.fullmatch(name):
            raise ConfigurationError(
                f"handler name {name!r}: letters, digits, _ . and - only, 1 to 128"
            )
        self.name = name
        self.function = function
        self.run_in: RunIn = _checked_run_in(name, function, run_in)
        self.arguments = Arguments(name, read(name, function))
        self._results = Results(function, name)
        self._execution = Execution(function, self.arguments, self._results)
        super().__init__(Target(name, self.arguments, registry), cast("Options", given))
        self.run = self._execution.choose(self.run_in)
        self.run_in_child = self._execution.choose("loop" if self.is_async else "thread")
        functools.update_wrapper(cast("Callable[..., Any]", self), function, updated=())

    @property
    def registry(self) -> Registry:
        """Return the registry that it belongs to: that of the application, once it is included."""
        return self._target.registry

    def move(self, registry: Registry) -> None:
        """Belong to another registry."""
        self._target.move(registry)

    @property
    def policy(self) -> Policy:
        """Return the policy of its jobs, unless one is enqueued with options."""
        return self.job_options.policy

    @property
    def queue(self) -> str:
        """Return the queue of its jobs, unless one is enqueued with options."""
        return self.job_options.queue

    @property
    def priority(self) -> Priority:
        """Return the priority of its jobs, unless one is enqueued with options."""
        return self.job_options.priority

    @property
    def timeout_ms(self) -> int:
        """Return the time limit of an attempt; 0 = none."""
        return self.policy.timeout_ms

    @property
    def is_async(self) -> bool:
        """Tell whether its function is a coroutine function."""
        return inspect.iscoroutinefunction(self.function)

    @property
    def summary(self) -> str:
        """Return the first line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of its payload."""
        return self.arguments.schema()

    def decode_result(self, data: bytes | None) -> R:
        """Turn a stored result into what the function returned.

        Raises:
            ResultGone: if the result could not be kept.
            JobError: if it does not fit the return annotation.
        """
        return cast("R", self._results.decode(data))

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the function, without a queue."""
        if not self._execution.plan.wants:
            return self.function(*args, **kwargs)
        call = detached.call_async if self.is_async else detached.call_sync
        return call(self, self._execution, args, kwargs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


AnyHandler: TypeAlias = Handler[..., Any]
"""A handler of whatever arguments and result."""


class AsyncHandler(Handler[P, R]):
    """A handler whose function is a coroutine function."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Call the function, without a queue; what it wants provided is provided."""
        return cast("Coroutine[Any, Any, R]", super().__call__(*args, **kwargs))


class SyncHandler(Handler[P, R]):
    """A handler whose function is a plain function."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function in this thread, without a queue; what it wants provided is provided."""
        return cast("R", super().__call__(*args, **kwargs))


def make_handler(
    registry: Registry,
    name: str | None,
    function: Callable[..., Any],
    *,
    run_in: RunIn | None,
    given: HandlerOptions,
) -> AnyHandler:
    """Make a handler of the kind that fits the function.

    Raises:
        ConfigurationError: if the function cannot run jobs; says what to change.
    """
    if not inspect.isroutine(function):
        raise ConfigurationError(
            f'a handler is a function, got {function!r}. Give the name first: @jobs.handler("name")'
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(
            f"handler {function.__qualname__!r} yields: a handler returns its result. "
            "What yields can be a dependency: Depends(...)"
        )
    own = function.__name__ if name is None else name
    if inspect.iscoroutinefunction(function):
        return AsyncHandler[..., Any](registry, own, function, run_in=run_in, given=given)
    return SyncHandler[..., Any](registry, own, function, run_in=run_in, given=given)


def _checked_run_in(name: str, function: Callable[..., Any], run_in: RunIn | None) -> RunIn:
    if inspect.iscoroutinefunction(function):
        if run_in not in (None, "loop"):
            raise ConfigurationError(
                f"handler {name!r} is async, so it runs in the loop: run_in={run_in!r} is for sync ones"
            )
        return "loop"
    if run_in not in (None, "loop", "thread", "process"):
        raise ConfigurationError(
            f"handler {name!r}: run_in is 'thread', 'process' or 'loop', got {run_in!r}"
        )
    return run_in or "thread"
