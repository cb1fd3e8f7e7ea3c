"""What people and programs see of a job: one shape for every command that reads jobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Raw, Struct

from treadle.broker.base import Description
from treadle.domain.job import NEVER, ErrorInfo, HistoryRow, Record
from treadle.domain.state import Event, Shown, State, shown
from treadle.settings import redacted


class ErrorView(Struct, frozen=True, kw_only=True):
    """The last error of a job, without its traceback."""

    type: str
    message: str


class JobView(Struct, frozen=True, kw_only=True):
    """One job in a listing. Instants are ISO 8601 in UTC by the broker's clock."""

    id: str
    type: str
    state: str
    queue: str
    priority: str
    attempt: int
    max_attempts: int
    reason: str | None
    created: str | None
    due: str | None
    finished: str | None
    result: Raw | str | None
    error: ErrorView | None


class HistoryView(Struct, frozen=True, kw_only=True):
    """One line of a job's history."""

    at: str | None
    event: str
    attempt: int
    ran_ms: int
    session: str
    reason: str | None
    error: ErrorInfo | None
    by: str | None
    before: str | None
    """The state in which that person found the job; null if no person did this."""
    after: str | None


class LogView(Struct, frozen=True, kw_only=True):
    """One line that a handler logged."""

    at: str | None
    text: str


class DetailView(JobView, frozen=True, kw_only=True):
    """All that the broker knows about one job."""

    payload: Raw | str | None
    unique: str | None
    after: tuple[str, ...]
    deaths: int
    progress: Raw | str | None
    log: tuple[LogView, ...]
    steps: tuple[str, ...]
    history: tuple[HistoryView, ...]


def store_of(described: Description) -> str:
    """Name a store and its version, the name once."""
    name, version = described.name, described.version
    return version if version.lower().startswith(name.lower()) else f"{name} {version}"


def state_of(record: Record, now: int) -> Shown:
    """Name the state that people see at the broker's `now`."""
    head = record.head
    return shown(head.state, due=head.due, attempt=head.attempt, now=now)


def instant(ms: int) -> str | None:
    """Write an instant of broker time; None for one that is not set or never comes."""
    if not 0 < ms < NEVER:
        return None
    try:
        stamp = datetime.fromtimestamp(ms / 1_000, UTC)
    except (OverflowError, ValueError, OSError):
        return str(ms)
    return stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def embedded(data: bytes | None, name: str = "", redact: Sequence[str] = ()) -> Raw | str | None:
    """Put stored JSON into an answer as it is; bytes that are none become text.

    Of what is called `name` the parts that `redact` names are hidden.
    """
    if data is None:
        return None
    data = redacted(data, name, redact)
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return data.decode(errors="backslashreplace")
    return Raw(data if b"\n" not in data else msgspec.json.format(data, indent=-1))


def last_error(record: Record) -> ErrorInfo | None:
    """Return the error that the present run ended with or waits after; None if it succeeded."""
    if record.head.state is State.SUCCEEDED:
        return None
    for row in reversed(record.history):
        if row.event == Event.RETRY:
            return None
        if row.error is not None:
            return row.error
    if record.fault is not None:
        return ErrorInfo(type=record.fault.code.value, message=record.fault.detail)
    return None


def _due(record: Record) -> int:
    return record.head.due if record.head.state in (State.WAITING, State.BLOCKED) else 0


def job_view(record: Record, now: int, redact: Sequence[str]) -> JobView:
    """Show a record in a listing, without what `redact` hides."""
    job, head, error = record.job, record.head, last_error(record)
    return JobView(
        id=job.id,
        type=job.type,
        state=state_of(record, now),
        queue=job.queue,
        priority=job.priority.name.lower(),
        attempt=head.attempt,
        max_attempts=job.policy.max_attempts,
        reason=head.reason or None,
        created=instant(record.created),
        due=instant(_due(record)),
        finished=instant(head.finished),
        result=embedded(record.result, "result", redact),
        error=None if error is None else ErrorView(type=error.type, message=error.message),
    )


def history_view(row: HistoryRow) -> HistoryView:
    """Show one line of a job's history."""
    return HistoryView(
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
