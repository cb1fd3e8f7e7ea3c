"""Claiming: choose due jobs in order, park those whose concurrency key is full, run the rest."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from operator import itemgetter

from msgspec import structs

from treadle.broker.sqlite.connection import Row
from treadle.broker.sqlite.rows import (
    ATTEMPT,
    BODY,
    FENCE,
    ID,
    NOTHING_MORE,
    STATE,
    decode_more,
    mend,
    put_aside,
    record,
    shown_due,
)
from treadle.broker.sqlite.slots import Slots, stand_last
from treadle.broker.sqlite.statements import load
from treadle.broker.sqlite.transaction import Transaction
from treadle.domain.job import Fault, FaultCode, Head, Record
from treadle.domain.state import Event, State

_SQL = load("claims")
_SEQ, _ID, _PRIO, _DUE, _MORE, _KEY = 0, 1, 2, 3, 8, 11
"""Columns of `candidates`: fewer than those of a whole row, since most claims read a hundred of them."""
_place = itemgetter(_PRIO, _DUE, _SEQ)
_key = itemgetter(_KEY)
_MOST_PARKED = 2_000
"""So many jobs one claim parks at most before it returns: others want to write too."""

_SIZES = (1, 8, 32, 128, 512)
_RUN = {size: _SQL["start_many"].replace("{many}", ",".join("?" * size)) for size in _SIZES}
"""The statement that makes up to so many rows running; unused places are NULL."""


def claim(
    tx: Transaction, session: int, queues: Sequence[str], limit: int
) -> tuple[list[Record], bool]:
    """Make up to `limit` due jobs running; tell whether there may be more that were not looked at."""
    slots = Slots(tx)
    claimed: list[Record] = []
    parked = 0
    for name in queues:
        queue = tx.names.known_queue(name)
        if queue is None or _is_paused(tx, queue):
            continue
        while len(claimed) < limit:
            rows = _candidates(tx, queue, limit - len(claimed))
            taken, full = _divided(rows, slots)
            claimed += _start(tx, name, queue, session, taken)
            if not full:
                break
            parked += _park(tx, name, queue, full)
            if parked >= _MOST_PARKED:
                return claimed, True
    return claimed, False


def next_due(tx: Transaction, queues: Sequence[str]) -> int | None:
    """Return when the next job of some queues is due, now or later."""
    found: list[int] = []
    for name in queues:
        queue = tx.names.known_queue(name)
        if queue is not None and not _is_paused(tx, queue):
            row = tx.one(_SQL["next_due"], {"queue": queue})
            found += [] if row is None or type(row[0]) is not int else [shown_due(row[0])]
    return min(found, default=None)


def _is_paused(tx: Transaction, queue: int) -> bool:
    row = tx.one(_SQL["paused"], (queue,))
    return row is not None and bool(row[0])


def _candidates(tx: Transaction, queue: int, limit: int) -> list[Row]:
    rows = tx.rows(_SQL["candidates"], {"queue": queue, "now": tx.now, "limit": limit})
    rows.sort(key=_place)
    return rows


def _divided(rows: list[Row], slots: Slots) -> tuple[list[Row], list[Row]]:
    """Tell the jobs that may run from those whose concurrency key is full."""
    if not any(map(_key, rows)) or not slots.are_limited:
        return rows, []
    taken: list[Row] = []
    full: list[Row] = []
    for row in rows:
        (taken if slots.take(row[_KEY]) else full).append(row)
    return taken, full


def _start(
    tx: Transaction, name: str, queue: int, session: int, rows: Sequence[Row]
) -> list[Record]:
    """Make waiting rows running, and return their records in the same order."""
    shown = tx.names.session(session)
    made = [_running(tx, name, shown, row) for row in rows]
    found = iter([row[_SEQ] for row, record in zip(rows, made, strict=True) if record is not None])
    while chunk := list(islice(found, _SIZES[-1])):
        size = next(size for size in _SIZES if size >= len(chunk))
        filled = chunk + [None] * (size - len(chunk))
        tx.run(_RUN[size], (tx.now, tx.now, session, *filled))
    records = [
        _start_mended(tx, session, row[_SEQ]) if record is None else record
        for row, record in zip(rows, made, strict=True)
    ]
    if records:
        tally = tx.tally(queue)
        tally[State.WAITING] -= len(records)
        tally[State.RUNNING] += len(records)
        tx.log(Event.CLAIM, name, State.RUNNING, [record.job.id for record in records])
    return records


def _running(tx: Transaction, name: str, session: str, row: Row) -> Record | None:
    """Show a row as the claim leaves it: domain.head.claimed, made in one step.

    None if it cannot be claimed as it is, or could not be named when it is settled.
    """
    _, job_id, prio, _, fence, attempt, created, expires, text, body, payload, _ = row
    if type(payload) is not bytes or type(job_id) is not str or "\ufffd" in job_id:
        return None
    try:
        job, fault = tx.connection.job(name, job_id, prio, body, payload)
        more = NOTHING_MORE if text is None else decode_more(text)
        if more is None:
            return None
        head = Head(
            state=State.RUNNING,
            fence=fence + 1,
            due=tx.now,
            attempt=attempt + 1,
            deaths=more.deaths,
            stalls=more.stalls,
            parked=more.parked,
            delay_ms=more.delay_ms,
            look_ms=more.look_ms,
            expires=expires + 0,
            reason=more.reason,
            claimed=tx.now,
            session=session,
        )
        return Record(job=job, head=head, created=created + 0, fault=fault)
    except TypeError:  # what should be a number is none
        return None


def _start_mended(tx: Transaction, session: int, seq: int) -> Record:
    """Make a row running whose head makes no sense, mended; its record has a fault.

    Without that it would stand in front of its queue for ever. An id that nobody could write back
    is replaced by one that says where the row stands.
    """
    row = tx.rows(_SQL["whole"], (seq,))[0]
    good = mend(row)
    named = isinstance(row[ID], str) and "\ufffd" not in row[ID]
    started = (
        *(seq, row[ID] if named else f"garbled:{seq}", *good[2:STATE], State.RUNNING.value),
        *(good[FENCE] + 1, tx.now, good[ATTEMPT] + 1, *good[8:10], tx.now, session),
        *good[12:],
    )
    tx.run(_SQL["start_mended"], (started[1], *started[FENCE:BODY], seq))
    fault = record(tx.connection, row).fault or Fault(
        code=FaultCode.BAD_ENVELOPE, detail=f"its id is no text: {row[ID]!r:.80}"
    )
    return structs.replace(record(tx.connection, started), fault=fault)


def _park(tx: Transaction, name: str, queue: int, rows: Sequence[Row]) -> int:
    """Let waiting rows wait for their concurrency key instead."""
    looks = [put_aside(row[_MORE]) for row in rows]
    tx.many(
        _SQL["park"],
        [
            (tx.now + look_ms, more, row[_SEQ])
            for row, (look_ms, more) in zip(rows, looks, strict=True)
        ],
    )
    stand_last(tx, [row[_SEQ] for row in rows])
    tally = tx.tally(queue)
    tally[State.WAITING] -= len(rows)
    tally[State.BLOCKED] += len(rows)
    tx.log(Event.BLOCK, name, State.BLOCKED, [str(row[_ID]) for row in rows])
    return len(rows)
