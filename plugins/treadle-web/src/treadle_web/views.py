"""What a job looks like from outside: the structs that the specification is made of.

Instants are RFC 3339 in UTC by the broker's clock, null where there is none. A fence is text: no
reader may round it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Raw, Struct

from treadle.broker.base import Notes
from treadle.cli.views import embedded, instant, last_error, state_of
from treadle.domain.job import ErrorInfo, HistoryRow, Priority, Record
from treadle.domain.state import Shown, State
from treadle.runtime.job_options import PriorityName
from treadle_web.exact import exact

AnyJson = Annotated[Raw | str | None, Meta(description="Any JSON; text if it cannot be read.")]
PRIORITIES: dict[Priority, PriorityName] = {
    Priority.CRITICAL: "critical",
    Priority.HIGH: "high",
    Priority.MEDIUM: "medium",
    Priority.LOW: "low",
}


class ErrorOut(Struct, frozen=True, kw_only=True):
    """An error of a job, without its traceback."""

    type: str
    message: str


class JobOut(Struct, frozen=True, kw_only=True):
    """A job in a listing."""

    id: str
    queue: str
    type: str
    state: Shown
    priority: PriorityName
    attempt: int
    max_attempts: int
    reason: str | None
    created: str | None
    due: str | None
    finished: str | None
    fence: str
    """Grows with every change; send it as If-Match to act on what you saw."""


class JobDetail(JobOut, frozen=True, kw_only=True):
    """All that is known of one job."""

    payload: AnyJson
    result: AnyJson
    progress: AnyJson
    error: ErrorOut | None
    unique: str | None
    key: str | None
    meta: dict[str, str]
    after: tuple[str, ...]
    steps: tuple[str, ...]
    deaths: int
    cancel_requested: bool


class JobPage(Struct, frozen=True, kw_only=True):
    """Jobs, and where the listing goes on."""

    items: tuple[JobOut, ...]
    cursor: str | None
    """Ask again with it; null at the end. A page may be empty and still have one."""


class HistoryOut(Struct, frozen=True, kw_only=True):
    """One line of a job's history: how an attempt ended, or what somebody did."""

    at: str | None
    event: str
    attempt: int
    ran_ms: int
    session: str
    reason: str | None
    error: ErrorInfo | None
    by: str | None
    """Who did it; null if no person did."""
    before: str | None
    """The state in which that person found the job."""
    after: str | None


class History(Struct, frozen=True, kw_only=True):
    """The last lines of a job's history, the oldest first."""

    items: tuple[HistoryOut, ...]


class LogOut(Struct, frozen=True, kw_only=True):
    """One line that a handler logged."""

    at: str | None
    text: str
    attempt_fence: str
    """Names the attempt that wrote it."""


class Logs(Struct, frozen=True, kw_only=True):
    """What a job logged, the oldest first; the last 1,000 lines are kept."""

    items: tuple[LogOut, ...]


def _fields(record: Record, now: int) -> dict[str, object]:
    job, head = record.job, record.head
    waits = head.state in (State.WAITING, State.BLOCKED)
    return {
        "id": job.id,
        "queue": job.queue,
        "type": job.type,
        "state": state_of(record, now),
        "priority": PRIORITIES[job.priority],
        "attempt": head.attempt,
        "max_attempts": job.policy.max_attempts,
        "reason": head.reason or None,
        "created": instant(record.created),
        "due": instant(head.due) if waits else None,
        "finished": instant(head.finished),
        "fence": str(head.fence),
    }


def job_out(record: Record, now: int) -> JobOut:
    """Show a job in a listing."""
    return JobOut(**_fields(record, now))  # type: ignore[arg-type]


def error_out(record: Record) -> ErrorOut | None:
    """Show the error that the present run ended with or waits after."""
    error = last_error(record)
    return None if error is None else ErrorOut(type=error.type, message=error.message)


def job_detail(record: Record, notes: Notes, now: int, redact: Sequence[str]) -> JobDetail:
    """Show all of a job but what `redact` hides."""
    job, head = record.job, record.head
    payload = None if record.forgotten else embedded(job.payload, "payload", redact)
    return JobDetail(
        **_fields(record, now),  # type: ignore[arg-type]
        payload=exact(payload),
        result=exact(embedded(record.result, "result", redact)),
        progress=exact(embedded(notes.progress, "progress", redact)),
        error=error_out(record),
        unique=None if job.unique is None else job.unique.key,
        key=job.key or None,
        meta=dict(job.meta),
        after=tuple(ref.id for ref in job.after),
        steps=tuple(name for name, _ in notes.steps),
        deaths=head.deaths,
        cancel_requested=head.cancel,
    )


def history_out(row: HistoryRow) -> HistoryOut:
    """Show a line of a history."""
    return HistoryOut(
        at=instant(row.at),
        event=row.event,
        attempt=row.attempt,
        ran_ms=row.ran_ms,
        session=row.session,
        reason=row.reason or None,
        error=row.error,
        by=row.by or None,
        before=row.before or None,
        after=row.after or None,
    )


def logs_out(notes: Notes) -> Logs:
    """Show what a job logged."""
    return Logs(
        items=tuple(
            LogOut(at=instant(at), text=text, attempt_fence=str(fence))
            for fence, at, text in notes.log
        )
    )
