"""How stored rows are shown: as much of a record as each operation promises, and no more."""

from __future__ import annotations

from msgspec import structs

from treadle.broker.memory.lane import Lane, Memory, Row
from treadle.domain.job import Head, Job, Record


def running(row: Row) -> Record:
    """Show what a worker needs: job and head."""
    return Record(job=row.job, head=row.head, created=row.created, fault=row.fault)


def complete(row: Row) -> Record:
    """Show everything."""
    return Record(
        job=row.job,
        head=row.head,
        created=row.created,
        result=row.result,
        history=row.history,
        edges=row.edges,
        fault=row.fault,
    )


def listed(row: Row) -> Record:
    """Show the head, without payload, result and history."""
    job = structs.replace(row.job, payload=b"")
    return Record(job=job, head=row.head, created=row.created, fault=row.fault)


def undecided(row: Row) -> Record:
    """Show what is needed to decide: job without payload, head, edges."""
    job = structs.replace(row.job, payload=b"")
    return Record(job=job, head=row.head, created=row.created, edges=row.edges, fault=row.fault)


def forgotten(queue: str, id: str, memory: Memory) -> Record:
    """Show what is remembered of a record that was removed."""
    head = Head(state=memory.state, fence=memory.fence, due=memory.until)
    return Record(job=Job(id=id, type="", queue=queue), head=head, created=0, forgotten=True)


def standing(lane: Lane, id: str, now: int) -> Record | None:
    """Show all that is known of a job: its record, what is remembered of it, or nothing."""
    row = lane.rows.get(id)
    if row is not None:
        return complete(row)
    memory = lane.remembered.get(id)
    if memory is not None and memory.until > now:
        return forgotten(lane.name, id, memory)
    return None
