"""Claiming: choose due jobs in order, park those whose concurrency key is full, run the rest."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import islice

from msgspec import structs

from treadle.broker.sqlite.connection import Row
from treadle.broker.sqlite.rows import (
    ATTEMPT,
    BODY,
    DUE,
    FENCE,
    ID,
    PRIO,
    REST,
    SEQ,
    STATE,
    is_sound,
    mend,
    record,
    sound_record,
    shown_due,
)
from treadle.broker.sqlite.slots import Slots
from treadle.broker.sqlite.statements import load
from treadle.broker.sqlite.transaction import Transaction
from treadle.domain.head import BLOCKED_LOOK_MS
from treadle.domain.job import Fault, FaultCode, Record
from treadle.domain.state import Event, State

_SQL = load("claims")
_KEY = REST
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
            taken: list[Row] = []
            full: list[Row] = []
            for row in rows:
                (taken if slots.take(row[_KEY]) else full).append(row)
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


def _place(row: Row) -> tuple[int, int, int]:
    return row[PRIO], row[DUE], row[SEQ]


def _start(
    tx: Transaction, name: str, queue: int, session: int, rows: Sequence[Row]
) -> list[Record]:
    """Make waiting rows running, and return their records in the same order."""
    now = tx.now
    sound = [row[SEQ] for row in rows if _is_usable(row)]
    found = iter(sound)
    while chunk := list(islice(found, _SIZES[-1])):
        size = next(size for size in _SIZES if size >= len(chunk))
        filled = chunk + [None] * (size - len(chunk))
        tx.run(_RUN[size], (now, now, session, *filled))
    if len(sound) == len(rows):
        records = [sound_record(tx.connection, _started(row, session, now)) for row in rows]
    else:
        records = [_start_one(tx, session, row, set(sound)) for row in rows]
    if records:
        tally = tx.tally(queue)
        tally[State.WAITING] -= len(records)
        tally[State.RUNNING] += len(records)
        tx.log(Event.CLAIM, name, State.RUNNING, [shown.job.id for shown in records])
    return records


def _is_usable(row: Row) -> bool:
    """Tell whether a row can be claimed as it is, and named when it is settled."""
    return is_sound(row) and "\ufffd" not in row[ID]


def _started(row: Row, session: int, now: int) -> Row:
    """Return a row as the claim leaves it."""
    fence, attempt = row[FENCE] + 1, row[ATTEMPT] + 1
    running = State.RUNNING.value
    return (*row[:STATE], running, fence, now, attempt, *row[8:10], now, session, *row[12:REST])


def _start_one(tx: Transaction, session: int, row: Row, started: AbstractSet[int]) -> Record:
    """Return the record of a row; make it running, mended, if its head makes no sense.

    Without that it would stand in front of its queue for ever. An id that nobody could write back
    is replaced by one that says where the row stands.
    """
    if row[SEQ] in started:
        return record(tx.connection, _started(row, session, tx.now))
    good = _started(mend(row), session, tx.now)
    named = isinstance(row[ID], str) and "\ufffd" not in row[ID]
    job_id = row[ID] if named else f"garbled:{row[SEQ]}"
    tx.run(_SQL["start_mended"], (job_id, *good[FENCE:BODY], row[SEQ]))
    fault = record(tx.connection, row).fault or Fault(
        code=FaultCode.BAD_ENVELOPE, detail=f"its id is no text: {row[ID]!r:.80}"
    )
    return structs.replace(record(tx.connection, (good[SEQ], job_id, *good[2:])), fault=fault)


def _park(tx: Transaction, name: str, queue: int, rows: Sequence[Row]) -> int:
    """Let waiting rows wait for their concurrency key instead."""
    look = tx.now + BLOCKED_LOOK_MS
    tx.many(_SQL["park"], [(look, row[SEQ]) for row in rows])
    tally = tx.tally(queue)
    tally[State.WAITING] -= len(rows)
    tally[State.BLOCKED] += len(rows)
    tx.log(Event.BLOCK, name, State.BLOCKED, [str(row[ID]) for row in rows])
    return len(rows)
