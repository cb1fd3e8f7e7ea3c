"""The history of a job, and records that are complete with it.

The row of the final change stands in the job's own row; for a plain success, which almost all
are, only the two numbers that cannot be read from the rest of it. Every other row has one of its own.
"""

from __future__ import annotations

from typing import Final

import msgspec

from treadle.broker.sqlite.connection import Connection, Row
from treadle.broker.sqlite.rows import (
    ATTEMPT,
    CLAIMED,
    FENCE,
    FORGOTTEN,
    REST,
    SEQ,
    SESSION,
    STATE,
    is_sound,
    mend,
    record,
)
from treadle.broker.sqlite.statements import load
from treadle.broker.sqlite.transaction import Transaction
from treadle.domain.codec import decode_history, encode_history
from treadle.domain.job import HistoryRow, Record, Ref
from treadle.domain.limits import HISTORY_ROWS
from treadle.domain.outcome import Change
from treadle.domain.state import FINAL, Event

_SQL = load("history")

_REMEMBERED = frozenset(FORGOTTEN + state for state in FINAL)

AT: Final = REST
RAN: Final = REST + 1
LAST: Final = REST + 2
RESULT: Final = REST + 3


def is_derivable(change: Change) -> bool:
    """Tell whether a final row is known from the job's row, but for claim, `at` and `ran_ms`."""
    row = change.history
    return (
        row is not None
        and row.event == Event.SUCCEED
        and row.fence == change.fence
        and row.attempt == change.attempt
        and row.error is None
        and not (row.reason or row.by)
    )


def last_of(
    change: Change, claimed: int, session: str
) -> tuple[int | None, int | None, bytes | None]:
    """Return what stands in the row of a job that ended: at, ran_ms, or all as JSON."""
    row = change.history
    if row is None:
        return None, None, None
    if is_derivable(change) and row.claimed == claimed and row.session == session:
        return row.at, row.ran_ms, None
    return None, None, encode_history(row)


def append(tx: Transaction, seq: int, row: bytes) -> None:
    """Write a row of its own; the oldest beyond the limit goes."""
    tx.run(_SQL["append"], (seq, seq, row))
    tx.run(_SQL["trim"], (seq, seq, HISTORY_ROWS))


def final_row(connection: Connection, row: Row) -> bytes | None:
    """Return the row of the final change as it stands in the job's row (columns of `whole`)."""
    last = row[LAST]
    if last is not None:
        return last if isinstance(last, bytes) else str(last).encode("utf-8", "replace")
    at, ran = row[AT], row[RAN]
    if type(at) is not int or type(ran) is not int:
        return None
    whole = HistoryRow(
        event=Event.SUCCEED.value,
        fence=row[FENCE] - 1,
        attempt=row[ATTEMPT],
        at=at,
        claimed=row[CLAIMED],
        ran_ms=ran,
        session=connection.names.session(row[SESSION]),
    )
    return encode_history(whole)


def read(connection: Connection, row: Row) -> tuple[HistoryRow, ...]:
    """Return all rows of a job (columns of `whole`), oldest first."""
    if not is_sound(row):
        row = mend(row)
    texts = [data for (data,) in connection.rows(_SQL["read"], (row[SEQ],))]
    final = final_row(connection, row)
    if final is not None:
        texts.append(final)
    return tuple(decode_history(_bytes(text)) for text in texts[-HISTORY_ROWS:])


def whole(connection: Connection, row: Row) -> Record:
    """Show everything of a row (columns of `whole`)."""
    shown = record(connection, row)
    if shown.forgotten:
        return shown
    result = row[RESULT]
    return msgspec.structs.replace(
        shown,
        result=result if result is None or isinstance(result, bytes) else str(result).encode(),
        history=read(connection, row),
        edges=edges(connection, row[SEQ]),
    )


def edges(connection: Connection, seq: int) -> tuple[Ref, ...]:
    """Return the jobs that a job still waits for."""
    found = connection.rows(_SQL["edges"], (seq,))
    return tuple(Ref(connection.names.queue_name(queue), str(parent)) for queue, parent in found)


def standing(connection: Connection, ref: Ref, now: int) -> Record | None:
    """Return all that is known of a job: its record, what is remembered of it, or nothing.

    The queue "" stands for every one; a record comes before what is remembered of another.
    """
    if ref.queue:
        queue = connection.names.known_queue(ref.queue)
        if queue is None:
            return None
        rows = connection.rows(_SQL["whole"], (ref.id, queue))
    else:
        rows = connection.rows(_SQL["anywhere"], (ref.id,))
        rows.sort(key=_is_remembered)
    for row in rows:
        if not _is_remembered(row) or row[6] > now:
            return whole(connection, row)
    return None


def _is_remembered(row: Row) -> bool:
    return row[STATE] in _REMEMBERED


def _bytes(text: object) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode("utf-8", "replace")
