"""Storing jobs: in bulk where nothing speaks against it, else one by one."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.broker.base import BrokerBase
from treadle.broker.sqlite.bulk import MOST_BYTES, store_plain
from treadle.broker.sqlite.history import standing
from treadle.broker.sqlite.rows import FORGOTTEN, stored
from treadle.broker.sqlite.statements import load
from treadle.broker.sqlite.transaction import Transaction
from treadle.broker.sqlite.unique import drop_keys, key_holder, take_key
from treadle.broker.values import Applied, Duplicate
from treadle.domain.head import first
from treadle.domain.job import Head, Job, Record, Ref
from treadle.domain.outcome import RefusalCode, Refused
from treadle.domain.state import Event, State

_SQL = load("enqueue")

Result = Applied | Duplicate | Refused


def refuse(jobs: Sequence[Job], reason: str) -> list[Result]:
    """Answer for jobs that cannot be stored because there is no room."""
    code = RefusalCode.STORAGE_FULL
    return [Refused(code=code, detail=f"job {job.id} was not stored: {reason}") for job in jobs]


def stored_results(tx: Transaction, count: int) -> list[Result]:
    """Answer for jobs that were all stored in this transaction, in which nothing has gone since."""
    return [Applied(fence=tx.first_fence())] * count


def store(tx: Transaction, jobs: Sequence[Job]) -> list[Result]:
    """Store each job once, or say why not."""
    if store_plain(tx, jobs):
        return stored_results(tx, len(jobs))
    return [_store(tx, job) for job in jobs]


def insert(tx: Transaction, job: Job) -> Head:
    """Store a job whose id and unique key are free."""
    queue = tx.names.queue(job.queue)
    head = first(job, tx.now, tx.first_fence())
    seq = tx.next_seq()
    tx.run(
        _SQL["add"],
        (
            seq,
            job.id,
            queue,
            job.priority.value,
            head.state.value,
            head.fence,
            stored(head.due),
            stored(head.expires),
            tx.now,
            job.key or None,
        ),
    )
    tx.run(_SQL["add_spec"], (seq, tx.codec.encode(job), job.payload))
    if job.unique is not None:
        take_key(tx, queue, job.id, job.unique)
    tie(tx, seq, job.after)
    tx.tally(queue)[head.state] += 1
    tx.log(Event.ENQUEUE, job.queue, head.state, (job.id,))
    if head.state is State.WAITING:
        tx.ring(job.queue, head.due)
    return head


def tie(tx: Transaction, seq: int, parents: Sequence[Ref]) -> None:
    """Let a job, which has no edges, wait for others."""
    if parents:
        edges = [(seq, n, tx.names.queue(ref.queue), ref.id) for n, ref in enumerate(parents)]
        tx.many(_SQL["add_edge"], edges)


def _store(tx: Transaction, job: Job) -> Result:
    objection = _objection(tx, job)
    if objection is not None:
        return objection
    return Applied(fence=insert(tx, job).fence)


def _objection(tx: Transaction, job: Job) -> Duplicate | Refused | None:
    """Say why a job cannot be stored; what is stored already comes before every limit."""
    known = standing(tx.connection, Ref(job.queue, job.id), tx.now)
    if known is not None:
        return Duplicate(record=known)
    forget(tx, job)
    size = len(job.payload)
    if size > MOST_BYTES or size + len(tx.codec.encode(job)) > BrokerBase.max_record:
        return Refused(
            code=RefusalCode.TOO_LARGE,
            detail=f"job {job.id}: its payload has {size} bytes, at most {MOST_BYTES} fit",
        )
    for ref in job.after:
        if standing(tx.connection, ref, tx.now) is None:
            return Refused(
                code=RefusalCode.UNKNOWN_PARENT,
                detail=f"job {job.id} shall run after {ref.id} of queue {ref.queue}, which is unknown",
            )
    holder = holder_of(tx, job)
    return _full(tx, job) if holder is None else Duplicate(record=holder)


def holder_of(tx: Transaction, job: Job) -> Record | None:
    """Return the record of another job that holds the unique key of this one."""
    if job.unique is None:
        return None
    queue = tx.names.known_queue(job.queue)
    holder = None if queue is None else key_holder(tx, queue, job.unique, job.id)
    return None if holder is None else standing(tx.connection, Ref(job.queue, holder), tx.now)


def forget(tx: Transaction, job: Job) -> None:
    """Drop what is remembered of an id past its time, so that the id can be stored again.

    A key that the forgotten job had taken goes with it: a new job of that id never took it.
    """
    queue = tx.names.known_queue(job.queue)
    row = None if queue is None else tx.one(_SQL["forget"], (job.id, queue, FORGOTTEN, tx.now))
    if queue is not None and row is not None:
        tx.retire_seq(row[0])
        drop_keys(tx, queue, job.id)


def _full(tx: Transaction, job: Job) -> Refused | None:
    queue = tx.names.known_queue(job.queue)
    row = None if queue is None else tx.one(_SQL["limit"], (queue,))
    if queue is None or row is None or row[0] is None:
        return None
    waiting = tx.waiting(queue, row[1])
    if waiting < row[0]:
        return None
    return Refused(
        code=RefusalCode.QUEUE_FULL,
        detail=f"job {job.id}: {waiting} jobs wait in queue {job.queue}, its limit is {row[0]}",
    )
