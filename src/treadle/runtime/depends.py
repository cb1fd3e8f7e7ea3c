"""Dependencies of handlers: made for each attempt, cached in it, and torn down after it.

    async def get_db() -> AsyncIterator[Db]:
        async with connect() as db:
            yield db

    @jobs.handler("report")
    async def report(day: date, db: Db = Depends(get_db)) -> None: ...

A provider is a function: plain or async; one that yields is torn down when the attempt ends, and
sees the handler's exception at its `yield`. It may have dependencies of its own and take a `Context`.
Sync providers never run on the event loop: they run in the handler's own thread, or in one of the
pool for an async handler.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from enum import Enum
from typing import Any, TypeVar, assert_never, cast, overload

from msgspec import Struct

from treadle.errors import ConfigurationError
from treadle.runtime.context import Context
from treadle.runtime.hints import hints_of, is_context
from treadle.runtime.threads import ThreadPool

T = TypeVar("T")

_DEEPEST = 50


class Dependency:
    """The default of a parameter that is provided for each attempt; made by `Depends`."""

    __slots__ = ("provider",)

    def __init__(self, provider: Callable[..., Any]) -> None:
        self.provider = provider

    def __repr__(self) -> str:
        return f"Depends({getattr(self.provider, '__name__', self.provider)})"


@overload
def Depends(provider: Callable[..., AsyncIterator[T]]) -> T: ...
@overload
def Depends(provider: Callable[..., Awaitable[T]]) -> T: ...
@overload
def Depends(provider: Callable[..., Iterator[T]]) -> T: ...
@overload
def Depends(provider: Callable[..., T]) -> T: ...
def Depends(provider: Callable[..., Any]) -> Any:  # noqa: N802 - reads like a type
    """Provide a parameter for each attempt by calling a function.

    It is written as the parameter's default: `db: Db = Depends(get_db)`.
    """
    return Dependency(provider)


class Kind(Enum):
    """How a provider is called."""

    PLAIN = "plain"
    ASYNC = "async"
    YIELDS = "yields"
    ASYNC_YIELDS = "async yields"


Wants = tuple[tuple[str, int | None], ...]
"""Parameters and the step that provides each; None stands for the Context."""


class Step(Struct, frozen=True):
    """One provider, called once per attempt after the steps that it wants."""

    make: Callable[..., Any]
    kind: Kind
    wants: Wants


class Plan(Struct, frozen=True):
    """What is provided to a handler, in an order in which every step finds what it wants."""

    steps: tuple[Step, ...] = ()
    wants: Wants = ()

    @property
    def is_sync(self) -> bool:
        """Tell whether a thread can do all of it without the event loop."""
        return all(step.kind in (Kind.PLAIN, Kind.YIELDS) for step in self.steps)

    def only_context(self, context: Context) -> dict[str, Any]:
        """Provide what a plan without steps can: the Context."""
        return _chosen(self.wants, [], context)

    def provide(self, context: Context, stack: ExitStack) -> dict[str, Any]:
        """Call the providers in this thread; only for a plan that is sync."""
        made: list[Any] = []
        for step in self.steps:
            value = step.make(**_chosen(step.wants, made, context))
            if step.kind is Kind.YIELDS:
                value = stack.enter_context(cast("AbstractContextManager[Any]", value))
            made.append(value)
        return _chosen(self.wants, made, context)

    async def provide_async(
        self, context: Context, stack: AsyncExitStack, threads: ThreadPool
    ) -> dict[str, Any]:
        """Call the providers: async ones on the loop, sync ones in threads."""
        made: list[Any] = []
        for step in self.steps:
            given = _chosen(step.wants, made, context)
            made.append(await _make(step, given, stack, threads))
        return _chosen(self.wants, made, context)


def _chosen(wants: Wants, made: list[Any], context: Context) -> dict[str, Any]:
    return {name: context if index is None else made[index] for name, index in wants}


async def _make(
    step: Step, given: dict[str, Any], stack: AsyncExitStack, threads: ThreadPool
) -> Any:
    match step.kind:
        case Kind.ASYNC:
            return await step.make(**given)
        case Kind.ASYNC_YIELDS:
            manager = cast("AbstractAsyncContextManager[Any]", step.make(**given))
            return await stack.enter_async_context(manager)
        case Kind.PLAIN:
            return await threads.run(step.make, None, **given)
        case Kind.YIELDS:
            inside = _InThread(cast("AbstractContextManager[Any]", step.make(**given)), threads)
            stack.push_async_exit(inside.leave)
            return await threads.run(inside.enter, None)
        case _:
            assert_never(step.kind)


class _InThread:
    """A sync provider that yields, entered and left in threads."""

    def __init__(self, manager: AbstractContextManager[Any], threads: ThreadPool) -> None:
        self._manager = manager
        self._threads = threads
        self._entered = False

    def enter(self) -> Any:
        value = self._manager.__enter__()
        self._entered = True  # also when nobody waits for it any more
        return value

    async def leave(self, *exc: Any) -> bool | None:
        if not self._entered:
            return None
        return await self._threads.run(self._manager.__exit__, None, *exc)


def plan(handler: str, wanted: Mapping[str, Dependency | None]) -> Plan:
    """Put the providers of a handler's parameters in order; None stands for the Context.

    Raises:
        ConfigurationError: naming a provider that cannot be called.
    """
    planner = _Planner(handler)
    wants = tuple((name, planner.add(wish)) for name, wish in wanted.items())
    return Plan(tuple(planner.steps), wants)


class _Planner:
    def __init__(self, handler: str) -> None:
        self.steps: list[Step] = []
        self._handler = handler
        self._known: dict[Callable[..., Any], int] = {}
        self._depth = 0

    def add(self, wish: Dependency | None) -> int | None:
        if wish is None or wish.provider is Context:
            return None
        provider = wish.provider
        known = self._known.get(provider)
        if known is not None:
            return known
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ConfigurationError(f"handler {self._handler!r}: {wish!r} depends on itself")
        wants = tuple(self._wants(wish))
        self._depth -= 1
        self.steps.append(Step(*_called(provider), wants))
        self._known[provider] = len(self.steps) - 1
        return self._known[provider]

    def _wants(self, wish: Dependency) -> Iterator[tuple[str, int | None]]:
        where = f"handler {self._handler!r}: {wish!r}"
        parameters, hints = _inspect(wish.provider, where)
        for name, parameter in parameters.items():
            default = parameter.default
            if isinstance(default, Dependency):
                yield name, self.add(default)
            elif is_context(hints.get(name)):
                yield name, None
            elif default is parameter.empty and parameter.kind not in (
                parameter.VAR_POSITIONAL,
                parameter.VAR_KEYWORD,
            ):
                raise ConfigurationError(
                    f"{where} needs {name!r}, and nothing provides it: give it a default, "
                    f"Depends(...) or the type Context"
                )


def _inspect(
    provider: Callable[..., Any], where: str
) -> tuple[Mapping[str, inspect.Parameter], Mapping[str, Any]]:
    try:
        parameters = inspect.signature(provider).parameters
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{where} takes a function: {error}") from error
    return parameters, hints_of(provider)


def _called(provider: Callable[..., Any]) -> tuple[Callable[..., Any], Kind]:
    if inspect.isasyncgenfunction(provider):
        return asynccontextmanager(provider), Kind.ASYNC_YIELDS
    if inspect.isgeneratorfunction(provider):
        return contextmanager(provider), Kind.YIELDS
    if inspect.iscoroutinefunction(provider):
        return provider, Kind.ASYNC
    return provider, Kind.PLAIN
