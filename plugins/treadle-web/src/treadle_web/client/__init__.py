"""A client of the HTTP interface for Python programs: `Client`, and `AsyncClient` for event loops.

It needs httpx: `pip install 'treadle-web[client]'`. Answers are structs, refusals are exceptions with the
problem in them, listings walk their cursors, and the iterator of events comes back where it was cut off.
"""

from __future__ import annotations

from treadle_web.client.answers import (
    Created,
    DeadJob,
    Done,
    Gap,
    Group,
    Item,
    Job,
    JobDetails,
    JobError,
    JobEvent,
    Problem,
    Queue,
)
from treadle_web.client.blocking import Client
from treadle_web.client.calls import Filter, New
from treadle_web.client.failures import (
    ApiError,
    Changed,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    TooMany,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from treadle_web.client.waiting import AsyncClient

__all__ = [
    "ApiError",
    "AsyncClient",
    "Changed",
    "Client",
    "Conflict",
    "Created",
    "DeadJob",
    "Done",
    "Filter",
    "Forbidden",
    "Gap",
    "Group",
    "Invalid",
    "Item",
    "Job",
    "JobDetails",
    "JobError",
    "JobEvent",
    "New",
    "NotFound",
    "Problem",
    "Queue",
    "TooMany",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
]
