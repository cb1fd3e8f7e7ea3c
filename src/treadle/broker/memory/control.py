"""Small named documents with compare-and-set, and the event log."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.broker.values import Document, Events, LogEvent
from treadle.domain.limits import EVENTS_KEPT
from treadle.errors import ConfigurationError, TooLarge

_DOCUMENT_BYTES = 64 * 1024


class Documents:
    """The control documents. A version is never given twice, also after a removal."""

    __slots__ = ("_all", "_version")

    def __init__(self) -> None:
        self._all: dict[str, Document] = {}
        self._version = 0

    def get(self, name: str) -> Document | None:
        """Return the document of that name."""
        return self._all.get(name)

    def with_prefix(self, prefix: str) -> Sequence[Document]:
        """Return the documents whose name begins with `prefix`, by name."""
        return [self._all[name] for name in sorted(self._all) if name.startswith(prefix)]

    def put(self, name: str, data: bytes | None, version: int) -> Document | None:
        """Write or remove a document if its version is still `version`."""
        if data is not None and len(data) > _DOCUMENT_BYTES:
            raise TooLarge(f"document {name!r} has {len(data)} bytes, at most {_DOCUMENT_BYTES}")
        standing = self._all.get(name)
        if version != (0 if standing is None else standing.version):
            return standing
        if data is None:
            self._all.pop(name, None)
            return None
        self._version += 1
        written = self._all[name] = Document(name=name, version=self._version, data=data)
        return written


_Line = tuple[int, str, str, str, str]
"""Instant, event, queue, id, state."""


class EventLog:
    """The last 10,000 changes. A cursor is how many entries there were when it was given."""

    __slots__ = ("_dropped", "lines")

    def __init__(self) -> None:
        self.lines: list[_Line] = []
        """To be appended to; cut now and then."""
        self._dropped = 0

    def cut(self) -> None:
        """Drop what is no longer promised, once there is much of it."""
        if len(self.lines) >= 2 * EVENTS_KEPT:
            surplus = len(self.lines) - EVENTS_KEPT
            del self.lines[:surplus]
            self._dropped += surplus

    def read(self, after: str | None, limit: int) -> Events:
        """Return up to `limit` entries after a cursor; None gives the cursor of now.

        Raises:
            ConfigurationError: if this is no cursor of an event log.
        """
        end = self._dropped + len(self.lines)
        if after is None:
            return Events(cursor=str(end))
        start = _number(after)
        oldest = max(end - EVENTS_KEPT, 0)
        gap = start < oldest or start > end
        if gap:
            start = oldest
        place = start - self._dropped
        found = self.lines[place : place + max(limit, 1)]
        entries = tuple(
            LogEvent(cursor=str(n), at=at, event=event, queue=queue, id=job, state=state)
            for n, (at, event, queue, job, state) in enumerate(found, start + 1)
        )
        return Events(cursor=str(start + len(found)), entries=entries, gap=gap)


def _number(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdecimal()):
        raise ConfigurationError(f"{cursor!r} is no cursor of the event log")
    return int(cursor)
