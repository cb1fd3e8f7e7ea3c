"""Listing and showing jobs: what `jobs` and `dead` have in common."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import msgspec
from msgspec import structs

from treadle.broker.base import Broker, Filter, Notes, Order
from treadle.cli.call import Call
from treadle.cli.connect import connected, run
from treadle.cli.fitting import Narrow
from treadle.cli.output import Output
from treadle.cli.views import (
    DetailView,
    JobView,
    LogView,
    embedded,
    history_view,
    instant,
    job_view,
)
from treadle.domain.job import Record, Ref
from treadle.errors import JobNotFound

_PAGE = 500
_COLUMNS = ("id", "type", "state", "queue", "priority", "attempt", "created", "reason", "error")
_NARROW = Narrow(below=("reason", "error"), spare=("priority", "created", "attempt", "queue"))


def list_jobs(call: Call, filter: Filter, *, limit: int, order: Order) -> None:
    """Write up to `limit` jobs (0 = all of them)."""

    async def main() -> None:
        rows: list[Sequence[str]] = []
        redact = call.settings().redact
        async with connected(call) as broker:
            async for now, record in _found(broker, filter, limit, order):
                view = job_view(record, now, redact)
                if call.output.as_json:
                    call.output.objects([view])
                else:
                    rows.append(_cells(view))
        if not call.output.as_json:
            _write_rows(call.output, rows, limit)

    run(main)


def _write_rows(output: Output, rows: Sequence[Sequence[str]], limit: int) -> None:
    if not rows:
        output.note("No such jobs.")
        return
    output.table(_COLUMNS, rows, narrow=_NARROW)
    if len(rows) == limit:
        output.note(f"The first {limit}; --limit 0 shows all.")


async def _found(
    broker: Broker, filter: Filter, limit: int, order: Order
) -> AsyncGenerator[tuple[int, Record]]:
    cursor: str | None = None
    left = limit or None
    while left is None or left > 0:
        size = _PAGE if left is None else min(left, _PAGE)
        page = await broker.find(filter, order=order, cursor=cursor, limit=size)
        for record in await broker.get([record.ref for record in page.records]):
            if record is not None and not record.forgotten:
                yield page.now, record
        cursor = page.cursor
        if cursor is None:
            return
        left = None if left is None else left - len(page.records)


def _cells(view: JobView) -> list[str]:
    error = "" if view.error is None else f"{view.error.type}: {view.error.message}"
    return [
        view.id,
        view.type,
        view.state,
        view.queue,
        view.priority,
        f"{view.attempt}/{view.max_attempts}",
        (view.created or "")[:19].replace("T", " "),
        view.reason or "",
        error,
    ]


def show_jobs(call: Call, ids: Sequence[str], queue: str) -> None:
    """Write all that is known about each job.

    Raises:
        JobNotFound: naming the ids that no job has, after the others were written.
    """

    async def main() -> None:
        redact = call.settings().redact
        async with connected(call) as broker:
            now = (await broker.stats()).now
            refs = [Ref(queue, name) for name in ids]
            missing: list[str] = []
            for ref, record in zip(refs, await broker.get(refs), strict=True):
                if record is None:
                    missing.append(ref.id)
                    continue
                view = detail(record, await broker.notes(record.ref), now, redact)
                if call.output.as_json:
                    call.output.objects([view])
                else:
                    _write_detail(call.output, view)
        if missing:
            raise JobNotFound(
                f"no job has the id {', '.join(missing)}. `qrun jobs list` lists them."
            )

    run(main)


def detail(record: Record, notes: Notes, now: int, redact: Sequence[str]) -> DetailView:
    """Show a record with everything that belongs to it, but for what `redact` hides."""
    unique = record.job.unique
    return DetailView(
        **structs.asdict(job_view(record, now, redact)),
        payload=None if record.forgotten else embedded(record.job.payload, "payload", redact),
        unique=None if unique is None else unique.key,
        after=tuple(ref.id for ref in record.job.after),
        deaths=record.head.deaths,
        progress=embedded(notes.progress, "progress", redact),
        log=tuple(LogView(at=instant(at), text=text) for _fence, at, text in notes.log),
        steps=tuple(name for name, _data in notes.steps),
        history=tuple(history_view(row) for row in record.history),
    )


def _write_detail(output: Output, view: DetailView) -> None:
    for name in ("id", "type", "state", "queue", "priority", "reason", "created", "due"):
        _write_field(output, name, getattr(view, name))
    _write_field(output, "attempt", f"{view.attempt} of {view.max_attempts}")
    if view.deaths:
        _write_field(output, "deaths", f"{view.deaths} times its worker died while it ran")
    _write_field(output, "finished", view.finished)
    _write_field(output, "unique", view.unique)
    _write_field(output, "after", ", ".join(view.after))
    for name in ("payload", "result", "progress"):
        value = getattr(view, name)
        _write_field(output, name, _text(value))
    if view.error is not None:
        _write_field(output, "error", f"{view.error.type}: {view.error.message}")
    _write_field(output, "steps", ", ".join(view.steps))
    for line in view.log:
        _write_field(output, "log", f"{line.at} {line.text}")
    for row in view.history:
        error = "" if row.error is None else f" {row.error.type}: {row.error.message}"
        reason = f" ({row.reason})" if row.reason else ""
        by = f" by {row.by}" if row.by else ""
        text = f"{row.at} {row.event}{reason} attempt {row.attempt}, {row.ran_ms} ms{by}{error}"
        _write_field(output, "history", text)
    for text in _traceback(view):
        output.line(f"  {text}")
    output.line("")


def _traceback(view: DetailView) -> list[str]:
    errors = [row.error for row in view.history if row.error is not None and row.error.traceback]
    return errors[-1].traceback.splitlines() if errors and view.error is not None else []


def _write_field(output: Output, name: str, value: str | None) -> None:
    if value:
        output.line(f"{name + ':':<10} {value}")


def _text(value: msgspec.Raw | str | None) -> str | None:
    return bytes(value).decode() if isinstance(value, msgspec.Raw) else value
