"""Profiles: the HTTP contract of another job service, served over the same core.

A profile is data: endpoints, the settings that hold unless something else is said, and the application whose
handlers run. A plugin hands its profiles over in the hook `treadle_profiles`; the setting `profile`
chooses one for every role, and `qrun web` serves its endpoints beside `/api/v1`.

An endpoint is a row and a function. Who may ask, limits, JSON and errors are the server's business: the
function gets what fits its types, and returns a value or raises an error of Treadle.

    @endpoint("POST", "/submit", body=NewJob, answer=Submitted)
    async def submit(asked: Asked[Nothing, NewJob]) -> Submitted:
        ...

    MINE = Profile(name="mine", summary="Submit and ask.", app="mine:jobs", endpoints=(submit,))
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, Literal, TypeVar

from msgspec import Struct

from treadle.runtime.client import Client
from treadle.runtime.registry import Registry
from treadle.settings import Settings

Q = TypeVar("Q")
B = TypeVar("B")
Method = Literal["GET", "POST", "PUT", "DELETE"]


class Nothing(Struct, frozen=True):
    """No query parameters are looked at."""


class Asked(Struct, Generic[Q, B], frozen=True, kw_only=True):
    """A request whose parts fit the types of its endpoint."""

    jobs: Registry
    client: Client
    settings: Settings
    path: Mapping[str, str]
    """What stands in the path where the endpoint has a name in braces."""
    query: Q
    body: B


Answers = Callable[[Asked[Any, Any]], Awaitable[object]]


class Endpoint(Struct, frozen=True, kw_only=True):
    """One request of a contract, and what answers it."""

    method: Method
    path: str
    """Segments in braces are parameters: `/jobs/{id}`."""
    answers: Answers
    """Returns what is written as JSON, or text if `media_type` says so."""
    query: type[Struct]
    body: Any
    """The type of the JSON body; None: there is none."""
    answer: Any
    """The type of what comes back, for the specification; None: it is text."""
    status: int
    media_type: str

    @property
    def name(self) -> str:
        """Return the name of the function."""
        return getattr(self.answers, "__name__", "")

    @property
    def summary(self) -> str:
        """Return the first line of the function's docstring."""
        return (inspect.getdoc(self.answers) or "").partition("\n")[0]


def endpoint(
    method: Method,
    path: str,
    *,
    query: type[Struct] = Nothing,
    body: Any = None,
    answer: Any = None,
    status: int = 200,
    media_type: str = "application/json",
) -> Callable[[Answers], Endpoint]:
    """Make an endpoint of an async function."""

    def decorate(answers: Answers) -> Endpoint:
        return Endpoint(
            method=method,
            path=path,
            answers=answers,
            query=query,
            body=body,
            answer=answer,
            status=status,
            media_type=media_type,
        )

    return decorate


class Profile(Struct, frozen=True, kw_only=True):
    """The contract of another service."""

    name: str
    """As `qrun web --profile` and the setting `profile` call it."""
    summary: str
    endpoints: tuple[Endpoint, ...] = ()
    """Served beside `/api/v1`; of two that serve the same path and method, that of the profile counts."""
    defaults: Mapping[str, object] = {}
    """Settings by path, which hold unless a user says something else: `{"worker.concurrency": 3}`."""
    app: str | None = None
    """`module:attribute` of the Jobs whose handlers run if the user has none."""
    works: bool = True
    """One process does all: `qrun web` runs a worker as well."""


__all__ = ["Answers", "Asked", "Endpoint", "Method", "Nothing", "Profile", "endpoint"]
