"""Registries: handlers by name, and the middleware around every attempt.

`Jobs` is one; `Handlers` is one that is only a group, to be included by an application or registered by
a plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    ParamSpec,
    Protocol,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from treadle.domain.cron import Cron, Every, When
from treadle.domain.job import DEFAULT_POLICY, Policy
from treadle.domain.job import Job as Spec
from treadle.domain.limits import PAYLOAD_BYTES
from treadle.domain.timetable import refuse_more
from treadle.errors import ConfigurationError, UnknownType
from treadle.runtime.attempt import Middleware
from treadle.runtime.context import Context
from treadle.runtime.declared import CronOptions, Declared, make_declared, make_schedule, split
from treadle.runtime.duration import Duration, to_ms
from treadle.runtime.execution import RunIn
from treadle.runtime.handlers import AnyHandler, AsyncHandler, Handler, SyncHandler, make_handler
from treadle.runtime.job_options import HandlerOptions, JobOptions, Options, amend

if TYPE_CHECKING:
    from treadle.broker.base import Durability
    from treadle.runtime.handle import Job

P = ParamSpec("P")
R = TypeVar("R")


class EnqueueClient(Protocol):
    """What handlers need of a client."""

    async def enqueue(self, jobs: Sequence[Spec], *, checked: bool = False) -> list[Job[Any]]:
        """Store jobs; return their handles in the same order, or raise.

        `checked` says that nothing about them needs to be looked at again.
        """
        ...

    def enqueue_sync(self, jobs: Sequence[Spec]) -> list[Job[Any]]:
        """Do the same from code without a running event loop."""
        ...


# A coroutine function is also a plain one that returns a coroutine, and a first parameter that is
# a Context is also one of P: checkers call that an overlap. The first overload that fits is meant.


# A first parameter that takes anything fits a Context as well, and yet it is an argument of the
# job; only such a parameter takes `_Foreign`. Checkers cannot name the arguments of these functions
# without the first one, so those are not checked.


class _Foreign:
    """A type that no handler names."""


class Decorator(Protocol):
    """What `handler(...)` returns: it turns a function into a handler."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[_Foreign, ...], Coroutine[Any, Any, R]], /
    ) -> AsyncHandler[..., R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[_Foreign, ...], R], /
    ) -> SyncHandler[..., R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /
    ) -> AsyncHandler[P, R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncHandler[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Context, P], R], /) -> SyncHandler[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> SyncHandler[P, R]: ...


class Registry:
    """Handlers by name, and middleware in the order in which it was registered."""

    def __init__(self) -> None:
        self._handlers: dict[str, AnyHandler] = {}
        self._middleware: list[Middleware] = []
        self._timetable: dict[str, Declared] = {}
        self.parent: Registry | None = None
        """The registry that includes this one."""

    @property
    def handlers(self) -> Mapping[str, AnyHandler]:
        """Return the handlers by name; a view that grows with them."""
        return MappingProxyType(self._handlers)

    @property
    def declared(self) -> Mapping[str, Declared]:
        """Return the schedules of the code by name; a view that grows with them."""
        return MappingProxyType(self._timetable)

    @property
    def timetable(self) -> Mapping[str, Declared]:
        """Return the schedules that its workers fire, by name."""
        return self.declared

    @property
    def middleware(self) -> Sequence[Middleware]:
        """Return the middleware, the outermost first."""
        return tuple(self._middleware)

    @property
    def client(self) -> EnqueueClient:
        """Return what enqueues the jobs of its handlers.

        Raises:
            ConfigurationError: if it is a group that no application includes.
        """
        if self.parent is None:
            raise ConfigurationError(
                "these handlers belong to no application yet, so there is no broker to enqueue "
                "to: call jobs.include(handlers) first"
            )
        return self.parent.client

    @property
    def default_policy(self) -> Policy:
        """Return the policy of handlers that do not say otherwise."""
        return DEFAULT_POLICY if self.parent is None else self.parent.default_policy

    @property
    def durability(self) -> Durability | None:
        """Return the least that its workers accept of a broker; None accepts all."""
        return None if self.parent is None else self.parent.durability

    @property
    def payload_bytes(self) -> int:
        """Return the limit of a payload."""
        return PAYLOAD_BYTES if self.parent is None else self.parent.payload_bytes

    @overload
    def handler(  # type: ignore[overload-overlap]
        self, name: Callable[Concatenate[_Foreign, ...], Coroutine[Any, Any, R]], /
    ) -> AsyncHandler[..., R]: ...
    @overload
    def handler(self, name: Callable[Concatenate[_Foreign, ...], R], /) -> SyncHandler[..., R]: ...
    @overload
    def handler(  # type: ignore[overload-overlap]
        self, name: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /
    ) -> AsyncHandler[P, R]: ...
    @overload
    def handler(  # type: ignore[overload-overlap]
        self, name: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncHandler[P, R]: ...
    @overload
    def handler(self, name: Callable[Concatenate[Context, P], R], /) -> SyncHandler[P, R]: ...
    @overload
    def handler(self, name: Callable[P, R], /) -> SyncHandler[P, R]: ...
    @overload
    def handler(
        self,
        name: str | None = None,
        *,
        run_in: RunIn | None = None,
        **given: Unpack[HandlerOptions],
    ) -> Decorator: ...
    def handler(
        self,
        name: str | Callable[..., Any] | None = None,
        *,
        run_in: RunIn | None = None,
        **given: Unpack[HandlerOptions],
    ) -> Any:
        """Register a function under a name; without one, under its own.

            @jobs.handler("email.send", retry=5, timeout=30)
            async def send_email(to: str, subject: str = "Welcome!") -> str: ...

        A sync function runs in a thread, with `run_in="process"` in a child that can be killed. The
        name is stored with every job: give one that survives a renaming of the function.

        Raises:
            ConfigurationError: if the name is taken, an option cannot be used, or the function
                cannot run jobs.
        """
        # Checked now, so that the line with the mistake is in the traceback.
        amend(JobOptions(), cast("Options", given))

        def register(function: Callable[..., Any]) -> AnyHandler:
            own = name if isinstance(name, str) else None
            return self._add(make_handler(self, own, function, run_in=run_in, given=given))

        return register(name) if callable(name) else register

    def cron(
        self,
        expr: str,
        *,
        tz: str = "UTC",
        name: str | None = None,
        run_in: RunIn | None = None,
        **given: Unpack[CronOptions],
    ) -> Decorator:
        """Run a function when the clock of a time zone shows what a cron expression says.

            @jobs.cron("30 2 * * *", tz="America/New_York")
            def nightly_report() -> None: ...

        The function becomes a handler, with the options of one; what is a handler already stays it. Each
        tick is enqueued exactly once, by whichever scheduler is first. Five fields, or six with seconds; a
        time that does not exist on a day runs right after the gap, one that comes twice runs once.

        Raises:
            ConfigurationError: if the expression or zone is none, never fires, or the name is taken.
        """
        return self._schedule(Cron(expr=expr, tz=tz), name, run_in, given)

    def every(
        self,
        period: Duration,
        *,
        name: str | None = None,
        run_in: RunIn | None = None,
        **given: Unpack[CronOptions],
    ) -> Decorator:
        """Run a function at each multiple of a period since 1970, at least 1 s: `@jobs.every(90)`.

        Otherwise it is like `cron`.

        Raises:
            ConfigurationError: if the period is too short or too long, or the name is taken.
        """
        return self._schedule(Every(period_ms=to_ms(period, "period")), name, run_in, given)

    def _schedule(
        self,
        when: When,
        name: str | None,
        run_in: RunIn | None,
        given: CronOptions,
    ) -> Decorator:
        said, options = split(given)
        schedule = make_schedule(when, said)
        amend(JobOptions(), options)

        def register(function: Callable[..., Any]) -> AnyHandler:
            if isinstance(function, Handler):
                handler = cast("AnyHandler", function)
            else:
                own_options = cast("HandlerOptions", options)
                handler = make_handler(self, name, function, run_in=run_in, given=own_options)
            enqueuer = handler.options(**options)
            own = make_declared(name, schedule, handler, enqueuer, said.get("payload", {}))
            for registry in self._line():
                registry.refuse_double_schedule(own)
            if handler is not function:
                self._add(handler)
            for registry in self._line():
                registry.hold_schedule(own)
            return handler

        return cast("Decorator", register)

    def include(self, group: Registry) -> None:
        """Take over the handlers and the middleware of a group; later ones of it follow.

        A group belongs to the application that included it last.

        Raises:
            ConfigurationError: if a name is taken; nothing was taken over then.
        """
        if group in self._line():
            raise ConfigurationError("a group of handlers cannot include itself")
        for handler in group.handlers.values():
            for registry in self._line():
                registry.refuse_double(handler)
        for own in group.declared.values():
            for registry in self._line():
                registry.refuse_double_schedule(own)
        group.parent = self
        for handler in group.handlers.values():
            self._adopt(handler)
        for own in group.declared.values():
            for registry in self._line():
                registry.hold_schedule(own)
        for middleware in group.middleware:
            self.use(middleware)

    def use(self, middleware: Middleware, *, outermost: bool = False) -> None:
        """Run `middleware` around every attempt, inside what was registered before; or outside of it all.

        Raises:
            ConfigurationError: if it cannot be called.
        """
        if not callable(cast("object", middleware)):
            raise ConfigurationError(
                f"a middleware is an async function of an attempt and the rest, got {middleware!r}"
            )
        self._middleware.insert(0 if outermost else len(self._middleware), middleware)

    def load_plugins(self) -> None:
        """Let plugins register what they bring, once; a group has none of its own."""

    def find(self, name: str) -> AnyHandler:
        """Return the handler of that name.

        Raises:
            UnknownType: saying which one was perhaps meant.
        """
        handler = self._handlers.get(name)
        if handler is None:
            raise UnknownType(f"no handler for {name!r}. {self.hint(name)}")
        return handler

    def hint(self, name: str) -> str:
        """Say which handler was perhaps meant by an unknown name, or which ones there are."""
        close = get_close_matches(name, self._handlers, 1)
        if close:
            return f"Did you mean {close[0]!r}?"
        return f"Known: {', '.join(sorted(self._handlers)) or 'none'}."

    def decode_result(self, name: str, data: bytes | None) -> Any:
        """Turn a stored result of a handler into what it returned."""
        return self.find(name).decode_result(data)

    def _add(self, handler: AnyHandler) -> AnyHandler:
        for registry in self._line():
            registry.refuse_double(handler)
        self._adopt(handler)
        return handler

    def _adopt(self, handler: AnyHandler) -> None:
        """Hold the handler here and in everything that includes this registry."""
        line = self._line()
        for registry in line:
            registry.hold(handler)
        handler.move(line[-1])

    def _line(self) -> list[Registry]:
        """Return this registry, what includes it, what includes that ..."""
        found: list[Registry] = [self]
        while (parent := found[-1].parent) is not None and parent not in found:
            found.append(parent)
        return found

    def hold(self, handler: AnyHandler) -> None:
        """Know a handler by its name; use `handler` or `include`, which check it."""
        self._handlers[handler.name] = handler

    def refuse_double(self, handler: AnyHandler) -> None:
        """Refuse a handler whose name another one has.

        Raises:
            ConfigurationError: naming both functions.
        """
        other = self._handlers.get(handler.name)
        if other is not None and other is not handler:
            raise ConfigurationError(
                f"two handlers are named {handler.name!r}: {_place(other)} and {_place(handler)}. "
                "A name is stored with every job, so it must be unique"
            )

    def hold_schedule(self, own: Declared) -> None:
        """Know a schedule by its name; use `cron`, `every` or `include`, which check it."""
        self._timetable[own.name] = own

    def refuse_double_schedule(self, own: Declared) -> None:
        """Refuse a schedule whose name another one has, and one too many.

        Raises:
            ConfigurationError: naming both functions.
        """
        other = self._timetable.get(own.name)
        if other is None:
            refuse_more(len(self._timetable))
        if other is not None and other is not own:
            raise ConfigurationError(
                f"two schedules are named {own.name!r}: of {_place(other.handler)} and of "
                f'{_place(own.handler)}. Give one another name: name="..."'
            )


class Handlers(Registry):
    """A group of handlers and middleware, for a module or a plugin: `jobs.include(handlers)`."""


def _place(handler: AnyHandler) -> str:
    return f"{handler.function.__module__}.{handler.function.__qualname__}"
