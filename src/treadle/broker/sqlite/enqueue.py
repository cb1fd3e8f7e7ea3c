"""Storing jobs: in bulk where nothing speaks against it, else one by one."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.broker.base import BrokerBase
from treadle.broker.sqlite.history import standing
from treadle.broker.sqlite.rows import FORGOTTEN, stored
from treadle.broker.sqlite.statements import load
from treadle.broker.sqlite.transaction import Transaction
from treadle.broker.sqlite.unique import key_holder, take_key
from treadle.broker.values import Applied, Duplicate
from treadle.domain.head import first, instant
from treadle.domain.job import NOW, Head, Job, Record, Ref
from treadle.domain.outcome import RefusalCode, Refused
from treadle.domain.state import Event, State

_SQL = load("enqueue")
_MOST_BYTES = BrokerBase.max_record // 2
"""So many bytes a payload may have."""
_STORED = Applied(fence=1)

Result = Applied | Duplicate | Refused

_Head = tuple[int, str, int, int, int, int, int, str | None]
"""The parameters of `add_plain`; the due time stands at 4."""


def refuse(jobs: Sequence[Job], reason: str) -> list[Result]:
    """Answer for jobs that cannot be stored because there is no room."""
    code = RefusalCode.STORAGE_FULL
    return [Refused(code=code, detail=f"job {job.id} was not stored: {reason}") for job in jobs]


def stored_results(count: int) -> list[Result]:
    """Answer for jobs that were all stored."""
    return [_STORED] * count


def is_plain(job: Job) -> bool:
    """Tell whether nothing but its id can keep a job from being stored."""
    return job.unique is None and not job.after and len(job.payload) <= _MOST_BYTES


def store(tx: Transaction, jobs: Sequence[Job]) -> list[Result]:
    """Store each job once, or say why not."""
    if store_plain(tx, jobs):
        return stored_results(len(jobs))
    return [_store(tx, job) for job in jobs]


def store_plain(tx: Transaction, jobs: Sequence[Job]) -> bool:
    """Store all jobs, and tell so; if any of them needs a closer look, store none."""
    if not all(is_plain(job) for job in jobs):
        return False
    if any(_has_limit(tx, name) for name in {job.queue for job in jobs}):
        return False
    heads, specs = _parameters(tx, jobs)
    if not all(len(body) + len(payload) <= BrokerBase.max_record for _, body, payload in specs):
        return False
    added = _add(tx, heads)
    if added:
        tx.many(_SQL["add_spec"], specs)
        _tell(tx, jobs, heads)
    return added


def _add(tx: Transaction, heads: Sequence[_Head]) -> bool:
    """Insert all rows, and tell so; or none of them if one is there already."""
    if len(heads) == 1:
        return tx.run(_SQL["add_plain"], heads[0]) == 1
    raw = tx.connection.raw
    raw.execute("SAVEPOINT bulk")
    is_added = tx.many(_SQL["add_plain"], heads) == len(heads)
    if not is_added:
        raw.execute("ROLLBACK TO bulk")
    raw.execute("RELEASE bulk")
    return is_added


def insert(tx: Transaction, job: Job) -> Head:
    """Store a job whose id and unique key are free."""
    queue = tx.names.queue(job.queue)
    head = first(job, tx.now)
    seq = tx.next_seq()
    tx.run(
        _SQL["add"],
        (
            seq,
            job.id,
            queue,
            job.priority.value,
            head.state.value,
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
    insert(tx, job)
    return _STORED


def _objection(tx: Transaction, job: Job) -> Duplicate | Refused | None:
    """Say why a job cannot be stored; what is stored already comes before every limit."""
    known = standing(tx.connection, Ref(job.queue, job.id), tx.now)
    if known is not None:
        return Duplicate(record=known)
    forget(tx, job)
    size = len(job.payload)
    if size > _MOST_BYTES or size + len(tx.codec.encode(job)) > BrokerBase.max_record:
        return Refused(
            code=RefusalCode.TOO_LARGE,
            detail=f"job {job.id}: its payload has {size} bytes, at most {_MOST_BYTES} fit",
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
    """Drop what is remembered of an id past its time, so that the id can be stored again."""
    queue = tx.names.known_queue(job.queue)
    if queue is not None:
        tx.run(_SQL["forget"], (job.id, queue, FORGOTTEN, tx.now))


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


def _has_limit(tx: Transaction, name: str) -> bool:
    queue = tx.names.known_queue(name)
    row = None if queue is None else tx.one(_SQL["limit"], (queue,))
    return row is not None and row[0] is not None


def _parameters(
    tx: Transaction, jobs: Sequence[Job]
) -> tuple[list[_Head], list[tuple[int, bytes, bytes]]]:
    """Return the rows of `job` and of `spec` for jobs that wait for time alone."""
    now, encode, numbers = tx.now, tx.codec.encode, tx.names.queue
    heads: list[_Head] = []
    specs: list[tuple[int, bytes, bytes]] = []
    for seq, job in enumerate(jobs, tx.next_seq()):
        due = now if job.due is NOW else stored(instant(job.due, now))
        expires = 0 if job.expires is None else stored(instant(job.expires, now))
        key = job.key or None
        heads.append((seq, job.id, numbers(job.queue), int(job.priority), due, expires, now, key))
        specs.append((seq, encode(job), job.payload))
    return heads, specs


def _tell(tx: Transaction, jobs: Sequence[Job], heads: Sequence[_Head]) -> None:
    """Count, log and announce jobs that were stored in bulk."""
    ids: dict[str, list[str]] = {}
    for job, head in zip(jobs, heads, strict=True):
        listed = ids.get(job.queue)
        if listed is None:
            listed = ids[job.queue] = []
        listed.append(job.id)
        if job.due is NOW:
            tx.effects.rung.add(job.queue)
        else:
            tx.ring(job.queue, head[4])
    for queue, listed in ids.items():
        tx.tally(tx.names.queue(queue))[State.WAITING] += len(listed)
        tx.log(Event.ENQUEUE, queue, State.WAITING, listed)
