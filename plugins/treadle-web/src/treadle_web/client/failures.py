"""Refusals as exceptions.

ApiError
|-- Unauthorized   401: no token, or one that is not known
|-- Forbidden      403, 421: not with this token, or not under this host name
|-- NotFound       404
|-- Conflict       409: the state of the job does not allow it, or its unique key is held
|-- Changed        412: the job is not as it was seen
|-- Invalid        400, 408, 413, 415, 422, 431: what was sent does not fit
|-- TooMany        429: the queue is full, or logins failed too often
|-- Unavailable    500 and above: the store is away or full; asking again may help
`-- Unreachable    no answer came
"""

from __future__ import annotations

from typing import Final

import msgspec

from treadle.errors import TreadleError
from treadle_web.client.answers import Problem


class ApiError(TreadleError):
    """The interface refused a request; `problem` says why."""

    def __init__(self, problem: Problem, retry_after_s: float | None = None) -> None:
        where = f" (at {problem.path})" if problem.path else ""
        super().__init__(f"{problem.detail or problem.title}{where}")
        self.problem = problem
        self.retry_after_s = retry_after_s
        """When to ask again, if the server says."""


class Unauthorized(ApiError):
    """No token, or one that the server does not know."""


class Forbidden(ApiError):
    """This token, or this host name, does not allow it."""


class NotFound(ApiError):
    """There is no such job, queue or schedule."""


class Conflict(ApiError):
    """The state of the job does not allow it, or its unique key is held."""


class Changed(ApiError):
    """The job is not as the caller saw it."""


class Invalid(ApiError):
    """What was sent does not fit; `problem.path` says where."""


class TooMany(ApiError):
    """The queue is full, or logins failed too often."""


class Unavailable(ApiError):
    """The store is away or full, or the server failed: asking again may help."""


class Unreachable(ApiError):
    """No answer came: the request may have been served. With an idempotency key, ask again."""


_KINDS: Final[dict[int, type[ApiError]]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: Changed,
    421: Forbidden,
    429: TooMany,
}


def failure(status: int, content: bytes, retry_after: str = "") -> ApiError:
    """Return the exception that an answer stands for."""
    try:
        problem = msgspec.json.decode(content, type=Problem)
    except msgspec.DecodeError:  # somebody between us and the server
        problem = Problem(title=f"HTTP {status}", status=status)
    kind = _KINDS.get(status, Unavailable if status >= 500 else Invalid)
    return kind(problem, float(retry_after) if retry_after.isdecimal() else None)


def unreachable(error: Exception) -> Unreachable:
    """Return the exception for an answer that did not come."""
    return Unreachable(Problem(title="no answer", detail=f"no answer came: {error}"))
