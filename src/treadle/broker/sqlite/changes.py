"""Applying decided writes: the fence decides, the arithmetic is the domain's.

Almost all writes are plain successes of running jobs: they go in one statement each, which compares
everything in its own condition. Any other one is read first and goes through `domain.head`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from msgspec import structs

from treadle.broker.sqlite import enqueue, history, slots
from treadle.broker.sqlite.connection import Row
from treadle.broker.sqlite.removal import remove
from treadle.broker.sqlite.rows import (
    FORGOTTEN,
    QUEUE,
    SEQ,
    STATE,
    encode_more,
    is_sound,
    mend,
    record,
    stored,
)
from treadle.broker.sqlite.statements import load
from treadle.broker.sqlite.transaction import Transaction
from treadle.broker.sqlite.unique import drop_keys, take_key
from treadle.broker.values import Applied, Conflict, Duplicate
from treadle.domain.codec import encode_history
from treadle.domain.head import accepts, instant, replaced
from treadle.domain.job import NEVER, After, Head, Job, Record, Ref
from treadle.domain.outcome import CancelRequest, Change, Removal, Write
from treadle.domain.state import FINAL, Event, State

_SQL = load("changes")

Result = Applied | Conflict | Duplicate
_Plain = tuple[int, int, int, int | None, int | None, bytes | None, str, int, int, int, int]


def apply(tx: Transaction, writes: Sequence[Write]) -> list[Result]:
    """Apply each write whose fence matches; answer the others with what stands."""
    results: dict[int, Result] = {}
    plain = [n for n, write in enumerate(writes) if _is_plain(write)]
    if plain and _are_distinct(writes) and not slots.anybody_waits(tx):
        results = _succeed(tx, [(n, writes[n]) for n in plain])
    return [
        results[n] if n in results else _apply(tx, write)  # in order, for those of one job
        for n, write in enumerate(writes)
    ]


def _is_plain(write: Write) -> bool:
    """Tell whether a write is a success that moves nothing but the row of its job."""
    return (
        type(write) is Change
        and write.state is State.SUCCEEDED
        and write.event is Event.SUCCEED
        and not (write.follow_ups or write.fresh or write.reason)
        and write.edges is None
        and write.job is None
        and not (write.deaths or write.stalls or write.parked or write.delay_ms)
        and history.is_derivable(write)
    )


def _are_distinct(writes: Sequence[Write]) -> bool:
    return len({(write.queue, write.id) for write in writes}) == len(writes)


def _succeed(tx: Transaction, numbered: Sequence[tuple[int, Write]]) -> dict[int, Result]:
    """Apply plain successes in bulk; if one of them does not match, apply none."""
    raw = tx.connection.raw
    raw.execute("SAVEPOINT plain")
    changes = [(n, write) for n, write in numbered if isinstance(write, Change)]
    if tx.many(_SQL["succeed"], [_parameters(tx, change) for _, change in changes]) != len(changes):
        raw.execute("ROLLBACK TO plain")
        raw.execute("RELEASE plain")
        return {}
    raw.execute("RELEASE plain")
    ids: dict[str, list[str]] = {}
    for _, change in changes:
        ids.setdefault(change.queue, []).append(change.id)
    for queue, listed in ids.items():
        tally = tx.tally(tx.names.queue(queue))
        tally[State.RUNNING] -= len(listed)
        tally[State.SUCCEEDED] += len(listed)
        tx.log(Event.SUCCEED, queue, State.SUCCEEDED, listed)
    edges = bool(tx.rows(_SQL["any_edge"])[0][0])
    return {
        n: Applied(fence=change.fence + 1, children=edges and _look_at_children(tx, change))
        for n, change in changes
    }


def _parameters(tx: Transaction, change: Change) -> _Plain:
    row = change.history
    at, ran, claimed, session = (
        (None, None, 0, "") if row is None else (row.at, row.ran_ms, row.claimed, row.session)
    )
    due = change.due
    return (
        tx.now + due.ms if type(due) is After and due.ms < NEVER else stored(instant(due, tx.now)),
        change.attempt,
        tx.now,
        at,
        ran,
        change.result,
        change.id,
        tx.names.known_queue(change.queue) or -1,
        change.fence,
        claimed,
        tx.names.session_number(session),
    )


def _apply(tx: Transaction, write: Write) -> Result:
    queue = tx.names.known_queue(write.queue)
    row = None if queue is None else tx.one(_SQL["row"], (write.id, queue))
    if row is None or (type(row[STATE]) is int and row[STATE] >= FORGOTTEN):
        return _conflict(tx, write)
    shown = record(tx.connection, row)
    row = row if is_sound(row) else mend(row)
    if not accepts(shown.head, write):
        return _conflict(tx, write)
    match write:
        case Change():
            return _change(tx, row, shown, write)
        case CancelRequest():
            tx.run(_SQL["request_cancel"], (row[SEQ], write.fence))
            tx.log(Event.REQUEST_CANCEL, write.queue, shown.head.state, (write.id,))
            return Applied(fence=shown.head.fence)
        case Removal(remember_ms=remember_ms):
            tx.log(Event.DISCARD, write.queue, None, (write.id,))
            remove(tx, row, tx.now + remember_ms)
            return Applied(fence=shown.head.fence)
        case _:
            assert_never(write)


def _conflict(tx: Transaction, write: Write) -> Conflict:
    return Conflict(record=history.standing(tx.connection, Ref(write.queue, write.id), tx.now))


def _change(tx: Transaction, row: Row, shown: Record, change: Change) -> Applied | Duplicate:
    """Write a change whose fence matches, with all that goes with it."""
    job = shown.job
    if change.job is not None:
        job = structs.replace(change.job, queue=job.queue, id=job.id)
    if change.fresh or change.job is not None:
        holder = enqueue.holder_of(tx, job)
        if holder is not None:
            return Duplicate(record=holder)
        _take_body_and_key(tx, row, job, change)
    if change.edges is not None:
        tx.run(_SQL["untie"], (row[SEQ],))
        enqueue.tie(tx, row[SEQ], change.edges)
    head = replaced(shown.head, change, tx.now)
    if head.state is State.BLOCKED and _has_final_parent(tx, row[SEQ]):
        # It ended while the decision was made; nobody else would look again before `due`.
        head = structs.replace(head, due=tx.now)
    _write_row(tx, row, shown.head, head, change)
    _move(tx, row[QUEUE], job, shown.head, head, change.event)
    for follow_up in change.follow_ups:
        _follow_up(tx, follow_up)
    children = head.state in FINAL and _look_at_children(tx, change)
    return Applied(fence=head.fence, children=children)


def _take_body_and_key(tx: Transaction, row: Row, job: Job, change: Change) -> None:
    if change.job is not None:
        tx.run(_SQL["set_body"], (tx.codec.encode(job), job.payload, row[SEQ]))
        tx.run(_SQL["set_order"], (job.priority.value, job.key or None, row[SEQ]))
    drop_keys(tx, row[QUEUE], job.id)
    if job.unique is not None:
        take_key(tx, row[QUEUE], job.id, job.unique)


def _write_row(tx: Transaction, row: Row, old: Head, head: Head, change: Change) -> None:
    """Replace the head; put the history row where it belongs."""
    if old.state in FINAL:
        ended = history.final_row(tx.connection, row)
        if ended is not None:
            history.append(tx, row[SEQ], ended)
    at: int | None = None
    ran: int | None = None
    last: bytes | None = None
    if head.state in FINAL:
        at, ran, last = history.last_of(change, old.claimed, old.session)
    elif change.history is not None:
        history.append(tx, row[SEQ], encode_history(change.history))
    tx.run(
        _SQL["replace"],
        (
            head.state.value,
            head.fence,
            stored(head.due),
            head.attempt,
            head.finished or None,
            stored(head.expires),
            head.blocked_on or None,
            encode_more(head),
            at,
            ran,
            last,
            change.result,
            row[SEQ],
        ),
    )
    if head.blocked_on:
        slots.stand_last(tx, [row[SEQ]])


def _move(tx: Transaction, queue: int, job: Job, old: Head, head: Head, event: Event) -> None:
    """Count and log the change; wake who waits for what it made free."""
    tally = tx.tally(queue)
    tally[old.state] -= 1
    tally[head.state] += 1
    tx.log(event, job.queue, head.state, (job.id,))
    if head.state is State.WAITING:
        tx.ring(job.queue, head.due)
    if old.state is State.RUNNING and job.key:
        slots.let_in(tx, job.key, 1)


def _follow_up(tx: Transaction, job: Job) -> None:
    """Store a job that a change brings with it; one that is there, or whose key is held, is left."""
    ref = Ref(job.queue, job.id)
    if history.standing(tx.connection, ref, tx.now) is None:
        enqueue.forget(tx, job)
        if enqueue.holder_of(tx, job) is None:
            enqueue.insert(tx, job)


def _look_at_children(tx: Transaction, change: Change) -> bool:
    """Have the blocked children of a final job looked at now; tell whether there are any."""
    queue = tx.names.known_queue(change.queue)
    return tx.run(_SQL["look_at_children"], (tx.now, change.id, queue)) > 0


def _has_final_parent(tx: Transaction, seq: int) -> bool:
    return bool(tx.rows(_SQL["any_final_parent"], (seq,))[0][0])
