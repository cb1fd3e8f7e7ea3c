"""One operation of the interface: a row from which its route, its checks and its documentation follow."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec
from msgspec import Struct
from starlette.requests import Request

from treadle.runtime.client import Done
from treadle_web.problems import Refusal
from treadle_web.streaming import Parts

if TYPE_CHECKING:
    from treadle_web.web import Web

Q = TypeVar("Q")
B = TypeVar("B")

JSON: Final = "application/json"
_audit = logging.getLogger("treadle.audit")
_encode = msgspec.json.Encoder().encode


class Scope(StrEnum):
    """What a token allows."""

    READ = "read"
    ENQUEUE = "enqueue"
    OPERATE = "operate"


ALL_SCOPES: Final = frozenset(Scope)


class Principal(Struct, frozen=True):
    """Who asks."""

    name: str
    """As the history of jobs tells it."""
    scopes: frozenset[Scope]
    queues: frozenset[str] | None = None
    """The queues that it is about; None: all."""

    def may_use(self, queue: str) -> bool:
        """Tell whether it may see and change what is in a queue."""
        return self.queues is None or queue in self.queues


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No query parameters."""


class Ask(Struct, Generic[Q, B], kw_only=True):
    """A request that was checked: what a handler works with."""

    web: Web
    request: Request
    who: Principal
    path: Mapping[str, str]
    query: Q
    body: B

    @property
    def by(self) -> str:
        """Name who asks, for the history of a job."""
        return f"http:{self.who.name}"

    def within(self, queue: str | None) -> str | None:
        """Return the queue that a request is about; None: all, which a token may not be for.

        Raises:
            Refusal: 403.
        """
        allowed = self.who.queues
        if allowed is None:
            return queue
        if queue is None and len(allowed) == 1:
            return next(iter(allowed))
        if queue is None or queue not in allowed:
            named = ", ".join(sorted(allowed))
            raise Refusal(403, "forbidden", f"this token is for the queues {named}: name one")
        return queue

    def refuse_limited(self) -> None:
        """Refuse a token that is for some queues only.

        Raises:
            Refusal: 403.
        """
        if self.who.queues is not None:
            text = "this token is for some queues only, and this is about all"
            raise Refusal(403, "forbidden", text)

    def audit(self, event: str, *, before: str, after: str, **what: str) -> None:
        """Write to the log who did something to what, and how that was before and is after."""
        _audit.info(event, extra={"by": self.by, **what, "before": before, "after": after})

    def audit_jobs(self, event: str, acted: Iterable[Done]) -> None:
        """Write to the log who did something to each of these jobs."""
        for one in acted:
            self.audit(
                event, before=one.before, after=one.after, queue=one.ref.queue, job=one.ref.id
            )


class Reply(Struct, kw_only=True):
    """What a handler answers."""

    status: int = 200
    content: bytes = b""
    media_type: str = JSON
    headers: dict[str, str] = {}
    parts: Parts | None = None
    """What is sent in the place of `content`, part by part."""


def reply(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Answer with a value as JSON."""
    return Reply(status=status, content=_encode(value), headers=dict(headers or {}))


Handler = Callable[[Ask[Any, Any]], Awaitable[Reply]]


class Operation(Struct, frozen=True, kw_only=True):
    """What can be asked, of whom it may be asked, and what comes back."""

    method: str
    path: str
    """Segments in braces are parameters; one may hold a slash if it is written as %2F."""
    name: str
    summary: str
    handler: Handler
    scope: Scope | None
    """None: anybody may ask."""
    query: type[Struct]
    body: Any
    """The type of the JSON body; None: there is none."""
    body_optional: bool
    answer: Any
    """The type of the answer; None: there is no content."""
    media_type: str
    status: tuple[int, ...]
    """How it may succeed; the first one is usual."""
    headers: tuple[str, ...]
    """Request headers that it heeds."""
    problems: tuple[int, ...]
    """How it may fail besides what holds for all."""


def operation(
    method: str,
    path: str,
    *,
    scope: Scope | None,
    query: type[Struct] = Nothing,
    body: Any = None,
    body_optional: bool = False,
    answer: Any = None,
    media_type: str = JSON,
    status: tuple[int, ...] = (200,),
    headers: tuple[str, ...] = (),
    problems: tuple[int, ...] = (),
) -> Callable[[Handler], Operation]:
    """Make an operation of a handler; the first line of its docstring becomes the summary."""

    def decorate(handler: Handler) -> Operation:
        return Operation(
            method=method,
            path=path,
            name=getattr(handler, "__name__", ""),
            summary=(inspect.getdoc(handler) or "").partition("\n")[0],
            handler=handler,
            scope=scope,
            query=query,
            body=body,
            body_optional=body_optional,
            answer=answer,
            media_type=media_type,
            status=status,
            headers=headers,
            problems=problems,
        )

    return decorate
