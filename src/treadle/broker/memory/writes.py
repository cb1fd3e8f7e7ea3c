"""What becomes of a job that shall be stored, and of a write that a decision asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, assert_never

from msgspec import structs

from treadle.broker.memory.lane import Lane, Row
from treadle.broker.memory.records import standing
from treadle.broker.memory.table import Table
from treadle.broker.values import Applied, Conflict, Duplicate
from treadle.domain.head import accepts, first, replaced
from treadle.domain.job import NOW, Head, Job, Record, Ref
from treadle.domain.limits import HISTORY_ROWS
from treadle.domain.outcome import (
    CancelRequest,
    Change,
    RefusalCode,
    Refused,
    Removal,
    Write,
)
from treadle.domain.state import FINAL, Event, State

_BLOCKED: Final = State.BLOCKED
_SUCCEEDED: Final = State.SUCCEEDED
_RUNNING: Final = State.RUNNING
_SUCCEED: Final = Event.SUCCEED
_MANY: Final = 8
"""From so many on it pays to look whether jobs can be stored together."""


def store(
    table: Table, jobs: Sequence[Job], now: int, most_bytes: int
) -> list[Applied | Duplicate | Refused]:
    """Store each job once, or say why not."""
    fence = table.first_fence()
    stored = Applied(fence=fence)
    if len(jobs) >= _MANY and _are_alike(table, jobs, most_bytes):
        table.insert_alike(jobs, first(jobs[0], now, fence), now)
        return [stored] * len(jobs)
    shared: Head | None = None  # jobs that are simply due now begin with equal heads
    results: list[Applied | Duplicate | Refused] = []
    for job in jobs:
        objection = _objection(table, job, now, most_bytes)
        if objection is not None:
            results.append(objection)
            continue
        if job.due is NOW and job.expires is None and not job.after:
            head = shared = shared or first(job, now, fence)
        else:
            head = first(job, now, fence)
        table.insert(job, head, now)
        results.append(stored)
    return results


def _are_alike(table: Table, jobs: Sequence[Job], most_bytes: int) -> bool:
    """Tell whether nothing can be said against any of these jobs, and all go to the same place."""
    name, priority = jobs[0].queue, jobs[0].priority
    for job in jobs:
        if (
            job.queue != name
            or job.priority is not priority
            or job.due is not NOW
            or job.expires is not None
            or job.unique is not None
            or job.after
            or len(job.payload) > most_bytes
        ):
            return False
    ids = {job.id for job in jobs}
    if len(ids) < len(jobs):
        return False
    lane = table.lanes.get(name)
    return lane is None or (
        lane.limit is None
        and lane.rows.keys().isdisjoint(ids)
        and lane.remembered.keys().isdisjoint(ids)
    )


def _objection(table: Table, job: Job, now: int, most_bytes: int) -> Duplicate | Refused | None:
    """Say why a job cannot be stored; what is stored already comes before every limit."""
    lane = table.lanes.get(job.queue)
    if lane is not None and (job.id in lane.rows or job.id in lane.remembered):
        known = standing(lane, job.id, now)
        if known is not None:
            return Duplicate(record=known)
    if len(job.payload) > most_bytes:
        return _refused(
            RefusalCode.TOO_LARGE,
            f"job {job.id}: its payload has {len(job.payload)} bytes, at most {most_bytes} fit",
        )
    for ref in job.after:
        if _record(table, ref, now) is None:
            return _refused(
                RefusalCode.UNKNOWN_PARENT,
                f"job {job.id} shall run after {ref.id} of queue {ref.queue}, which is unknown",
            )
    if lane is not None and job.unique is not None:
        holder = _holder(table, lane, job, now)
        if holder is not None:
            return Duplicate(record=holder)
    if lane is not None and lane.limit is not None:
        waiting = len(lane.shelves[State.WAITING])
        if waiting >= lane.limit:
            return _refused(
                RefusalCode.QUEUE_FULL,
                f"job {job.id}: {waiting} jobs wait in queue {lane.name}, its limit is {lane.limit}",
            )
    return None


def apply(table: Table, write: Write, now: int) -> Applied | Conflict | Duplicate:
    """Apply a write whose fence matches; answer another one with what stands."""
    lane = table.lanes.get(write.queue)
    row = None if lane is None else lane.rows.get(write.id)
    if lane is None or row is None or not accepts(row.head, write):
        return Conflict(record=_record(table, Ref(write.queue, write.id), now))
    match write:
        case Change():
            return _change(table, lane, row, write, now)
        case CancelRequest():
            row.head = structs.replace(row.head, cancel=True)
            table.write_down(row, Event.REQUEST_CANCEL, now)
            return Applied(fence=row.head.fence)
        case Removal(remember_ms=remember_ms):
            table.write_down(row, Event.DISCARD, now, gone=True)
            fence = row.head.fence
            table.remove(row, now + remember_ms, now)
            return Applied(fence=fence)
        case _:
            assert_never(write)


def _change(table: Table, lane: Lane, row: Row, change: Change, now: int) -> Applied | Duplicate:
    if change.fresh or change.job is not None:
        holder = _take_body_and_key(table, row, change, now)
        if holder is not None:
            return Duplicate(record=holder)
    if change.edges is not None:
        table.edges.tie(row, change.edges)
    if change.history is not None:
        history = row.history
        row.history = (*history, change.history)[-HISTORY_ROWS:] if history else (change.history,)
    row.result = change.result
    head = replaced(row.head, change, now)
    if head.state is _BLOCKED and any(_is_final(table, ref) for ref in row.edges):
        # It ended while the decision was made; nobody else would look again before `due`.
        head = structs.replace(head, due=now)
    if change.event is _SUCCEED and head.state is _SUCCEEDED and row.head.state is _RUNNING:
        table.finish(lane, row, head, now)
    else:
        table.move(row, head, change.event, now)
    for job in change.follow_ups:
        known = _record(table, Ref(job.queue, job.id), now)
        if known is None and table.key_holder(job, now) is None:
            table.insert(job, first(job, now, table.first_fence()), now)
    if table.edges.children and head.state in FINAL and table.look_at_children(row, now):
        return Applied(fence=head.fence, children=True)
    return Applied(fence=head.fence)


def _take_body_and_key(table: Table, row: Row, change: Change, now: int) -> Record | None:
    """Give the row its new body and its unique key, or return who holds that key."""
    job = row.job
    if change.job is not None:
        job = structs.replace(change.job, queue=job.queue, id=job.id)
    holder = _holder(table, table.lanes[job.queue], job, now)
    if holder is not None:
        return holder
    table.drop_key(row)
    row.job = job
    table.take_key(row, now)
    return None


def _holder(table: Table, lane: Lane, job: Job, now: int) -> Record | None:
    holder = table.key_holder(job, now)
    return None if holder is None else standing(lane, holder, now)


def _record(table: Table, ref: Ref, now: int) -> Record | None:
    lane = table.lanes.get(ref.queue)
    return None if lane is None else standing(lane, ref.id, now)


def _is_final(table: Table, ref: Ref) -> bool:
    row = table.row(ref.queue, ref.id)
    return row is None or row.head.state in FINAL


def _refused(code: RefusalCode, detail: str) -> Refused:
    return Refused(code=code, detail=detail)
