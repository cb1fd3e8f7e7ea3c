"""What the end of a job means for who waits for it: a value, or a named error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from treadle.domain.job import ErrorInfo, Record
from treadle.domain.limits import RESULT_TOO_LARGE, RESULT_UNSERIALISABLE
from treadle.domain.state import State
from treadle.errors import JobCancelled, JobDead, JobEnded, JobError, ResultGone

Decode = Callable[[str, bytes], Any]
"""Turns the type of a job and its result's JSON into what its handler returned."""

_NOT_KEPT = {
    RESULT_TOO_LARGE: "it was too large",
    RESULT_UNSERIALISABLE: "it cannot be written as JSON",
}


def plain_json(type: str, data: bytes) -> Any:
    """Read a result whose handler is not known here.

    Raises:
        JobError: if it is no JSON.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JobError(f"the result of a job of type {type!r} cannot be read: {error}") from error


def result_of(record: Record, decode: Decode) -> Any:
    """Return the result of a job that is final.

    Raises:
        JobDead, JobCancelled: if it ended without one; with the handler's own traceback.
        ResultGone: if the result is no longer kept, or never could be.
    """
    if record.head.state is State.DEAD:
        raise ended(JobDead, record)
    if record.head.state is State.CANCELLED:
        raise ended(JobCancelled, record)
    name = f"job {record.job.id} ({record.job.type or 'type unknown'}, queue {record.job.queue})"
    if record.forgotten:
        raise ResultGone(f"{name} ended, but its record was purged: its result is no longer kept")
    if record.result is None:
        return None
    if record.result in _NOT_KEPT:
        raise ResultGone(
            f"{name} succeeded, but its result was not kept: {_NOT_KEPT[record.result]}"
        )
    return decode(record.job.type, record.result)


def ended(kind: type[JobDead | JobCancelled], record: Record) -> JobEnded:
    """Say why a job has no result, with the last error of its history."""
    job, head = record.job, record.head
    error = next((row.error for row in reversed(record.history) if row.error), ErrorInfo(type=""))
    state = "dead" if kind is JobDead else "cancelled"
    text = f"job {job.id} ({job.type or 'type unknown'}, queue {job.queue}) is {state}"
    if head.reason and head.reason != state:
        text += f": {head.reason}"
    if error.type:
        text += f" after {head.attempt} attempts" if kind is JobDead else ""
        text += f": {error.type}: {error.message}"
    told = kind(text, id=job.id, reason=head.reason, remote_traceback=error.traceback)
    if error.traceback:
        told.add_note(f"In the worker:\n{error.traceback}")
    return told
