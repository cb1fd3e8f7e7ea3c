"""What happened in a run, in order: kept as values, written as text only when somebody reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, cast

from treadle.broker.base import (
    Claimed,
    Conflict,
    Duplicate,
    Enqueued,
    Opened,
    Overdue,
    Pulse,
    Settled,
    Turned,
)
from treadle.domain.job import Job, Record
from treadle.domain.outcome import Change, Refused


class Trace:
    """Lines of (time, who, what, value); the same seed gives the same bytes."""

    def __init__(self) -> None:
        self.lines: list[tuple[float, str, str, object]] = []
        self.closed = False
        self._ids: dict[str, str] = {}

    def add(self, at: float, who: str, what: str, value: object = "") -> None:
        """Add a line, unless the run is over."""
        if not self.closed:
            self.lines.append((at, who, what, value))

    def text(self) -> str:
        """Return all lines as text."""
        return "".join(
            f"{at:12.6f} {who:<10} {what} {self._write(value)}".rstrip() + "\n"
            for at, who, what, value in self.lines
        )

    def digest(self) -> str:
        """Return a fingerprint of the text."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def _write(self, value: Any) -> str:
        match value:
            case str():
                return value
            case bool() | int() | float() | None:
                return str(value)
            case BaseException():
                return f"{type(value).__name__}: {value}"
            case Record(job=job, head=head):
                return f"{self._id(job)}[{head.state.name.lower()} f{head.fence} a{head.attempt}]"
            case Job():
                return self._id(value)
            case Change():
                return (
                    f"{self._id(value)}@f{value.fence} {value.event} -> {value.state.name.lower()}"
                )
            case tuple() | list():
                return " ".join(map(self._write, cast("Sequence[Any]", value)))
            case _:
                return self._answer(value)

    def _answer(self, value: Any) -> str:
        match value:
            case Opened(session=session, inherited=inherited):
                return f"{session} inherits {self._all(inherited)}"
            case Claimed(records=records):
                return self._all(records)
            case Turned(results=results, records=records):
                return f"{self._verdicts(results)} claims {self._all(records)}"
            case Settled(results=results) | Enqueued(results=results):
                return self._verdicts(results)
            case Overdue(records=records):
                return self._all(records)
            case Pulse(lost=lost, orphans=orphans, cancels=cancels):
                return f"lost {len(lost)} orphans {self._all(orphans)} cancels {len(cancels)}"
            case _ if hasattr(value, "id") and hasattr(value, "queue"):
                return self._id(value) + (f"@f{value.fence}" if hasattr(value, "fence") else "")
            case _:
                return type(value).__name__

    def _all(self, values: Sequence[Any]) -> str:
        return "(" + " ".join(self._write(each) for each in values) + ")"

    def _verdicts(self, results: Sequence[Any]) -> str:
        words = [
            type(each).__name__.lower()
            + (f" {each.record and self._write(each.record)}" if isinstance(each, Conflict) else "")
            if isinstance(each, Conflict | Duplicate | Refused)
            else "ok"
            for each in results
        ]
        return "(" + ", ".join(words) + ")"

    def _id(self, value: Any) -> str:
        """Name a job; ids made from time and chance are numbered in order of appearance."""
        if len(value.id) != 36 or value.id.count("-") != 4:
            return str(value.id)
        return self._ids.setdefault(value.id, f"job-{len(self._ids) + 1}")
