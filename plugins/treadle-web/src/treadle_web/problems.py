"""What goes wrong, as an answer: RFC 9457 problem details, and the status of each error.

Only what the caller sent is told back to the caller. What is wrong with the store or with this server
is written to the log under the request id, since such texts hold paths and addresses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import Struct

from treadle import errors

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 1

_PATH: Final = re.compile(r" - at `(?:key )?(?:in )?(\$[^`]*)`$")


class Problem(Struct, kw_only=True, omit_defaults=True):
    """Why a request was not served."""

    type: str
    """A URN that names the kind of problem; it ends in `code`."""
    title: str
    status: int
    detail: str
    code: str
    """Stable: one of Treadle's error codes, or a word."""
    request_id: str = ""
    path: str = ""
    """Where in the request it stands: `$.payload.to`, `$query.limit`."""
    ids: tuple[str, ...] = ()
    """The jobs that it is about, where there are several."""


class Refusal(Exception):
    """The request is not served; becomes a problem."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        path: str = "",
        ids: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.path = path
        self.ids = ids
        self.headers = dict(headers or {})

    def problem(self, request_id: str = "") -> Problem:
        """Return what the caller reads."""
        return Problem(
            type=f"urn:treadle:problem:{self.code}",
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            code=self.code,
            request_id=request_id,
            path=self.path,
            ids=self.ids,
        )


def invalid(detail: str, path: str = "", code: str = "invalid") -> Refusal:
    """Say that a part of the request does not fit."""
    return Refusal(422, code, detail, path=path)


def not_fitting(error: msgspec.ValidationError, root: str = "$") -> Refusal:
    """Say which field does not fit; paths begin with `root`."""
    text = str(error)
    found = _PATH.search(text)
    path = "$" if found is None else found[1]
    return invalid(_PATH.sub("", text), root + path.removeprefix("$"))


# The first class that fits decides: what stands below is more general.
_STATUS: Final[tuple[tuple[type[errors.TreadleError], int], ...]] = (
    (errors.JobNotFound, 404),
    (errors.ResultGone, 404),
    (errors.JobError, 422),
    (errors.IllegalTransition, 409),
    (errors.KeyHeld, 409),
    (errors.UnknownParent, 422),
    (errors.TooLarge, 413),
    (errors.QueueFull, 429),
    (errors.StorageFull, 507),
)
_LATER: Final = {"Retry-After": str(RETRY_AFTER_S)}


def refusal_of(error: errors.TreadleError) -> Refusal:
    """Turn an error of Treadle into the answer that it stands for."""
    path = error.path if isinstance(error, errors.PayloadError) else ""
    for kind, status in _STATUS:
        if isinstance(error, kind):
            headers = _LATER if status in (429, 507) else None
            return Refusal(status, error.code, str(error), path=path, headers=headers)
    if isinstance(error, errors.Uncertain):
        text = "No reply came: the job may be stored. Asking again with the same id is safe."
        return Refusal(503, error.code, text, ids=error.ids, headers=_LATER)
    return Refusal(503, error.code, "The store cannot be used now: try again.", headers=_LATER)


def is_ours_to_mend(refusal: Refusal) -> bool:
    """Tell whether somebody who runs the server should read of it."""
    return refusal.status >= 500
