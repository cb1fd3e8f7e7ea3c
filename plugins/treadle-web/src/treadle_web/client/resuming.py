"""Reading server-sent events: from lines to events, and where to go on after the connection is cut."""

from __future__ import annotations

from typing import Final

import msgspec

from treadle_web.client.answers import Gap, JobEvent
from treadle_web.client.failures import ApiError, TooMany, Unavailable, Unreachable

PATH: Final = "/api/v1/events"
SILENT_S: Final = 60.0
"""The server sends a comment much more often: a connection silent for so long is dead."""
_WAIT_S: Final = 2.0


class Stream:
    """The state of a stream over all its connections."""

    def __init__(
        self, *, queue: str, type: str, job: str, since: str, patience_s: float | None
    ) -> None:
        given = {"queue": queue, "type": type, "job": job}
        self.query = {name: value for name, value in given.items() if value}
        self.cursor = since
        self._patience_s = patience_s
        self._waited_s = 0.0
        self._fields: dict[str, str] = {}

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers of the next connection."""
        return {"Last-Event-ID": self.cursor} if self.cursor else {}

    def connected(self) -> None:
        """Begin to read a new connection."""
        self._fields, self._waited_s = {}, 0.0

    def wait_s(self, error: ApiError | None) -> float:
        """Return how long to wait before the next connection; an error that will not go is raised.

        Raises:
            ApiError: if the request is refused, or patience is at its end.
        """
        if error is None:
            return 0.0
        if not isinstance(error, TooMany | Unavailable | Unreachable):
            raise error
        wait = max(error.retry_after_s or 0.0, _WAIT_S)
        self._waited_s += wait
        if self._patience_s is not None and self._waited_s > self._patience_s:
            raise error
        return wait

    def feed(self, line: str) -> JobEvent | Gap | None:
        """Take a line; return the event that it completes."""
        if line:
            name, _, value = line.partition(":")
            if name:
                self._fields[name] = value.removeprefix(" ")
            return None
        fields, self._fields = self._fields, {}
        self.cursor = fields.get("id", self.cursor)
        match fields.get("event"):
            case "job":
                event = msgspec.json.decode(fields["data"], type=JobEvent)
                return msgspec.structs.replace(event, cursor=self.cursor)
            case "gap":
                return Gap(cursor=self.cursor)
            case _:
                return None
