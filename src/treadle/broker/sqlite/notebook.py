"""What handlers note about a job: steps, progress, log lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from treadle.broker.sqlite.connection import Connection
from treadle.broker.sqlite.history import standing
from treadle.broker.sqlite.statements import load
from treadle.broker.sqlite.transaction import Transaction
from treadle.broker.values import Conflict, LogLine, Note, Noted, Notes, Progress, Step
from treadle.domain.job import Ref
from treadle.domain.limits import LOG_LINES

_SQL = load("notebook")
_WRITTEN = Noted()


def write(tx: Transaction, session: str, items: Sequence[Note]) -> list[Noted | Conflict]:
    """Write each note whose lease is the session's; a step that is there stays, and is returned."""
    number = tx.names.session_number(session)
    results: list[Noted | Conflict] = []
    logged: set[int] = set()
    for item in items:
        lease = item.lease
        queue = tx.names.known_queue(lease.queue)
        row = tx.one(_SQL["running"], (lease.id, queue, lease.fence, number))
        if row is None:
            found = standing(tx.connection, Ref(lease.queue, lease.id), tx.now)
            results.append(Conflict(record=found))
            continue
        results.append(_write(tx, row[0], item))
        if isinstance(item, LogLine):
            logged.add(row[0])
    for seq in logged:
        tx.run(_SQL["trim_lines"], (seq, seq, LOG_LINES))
    return results


def read(connection: Connection, ref: Ref) -> Notes:
    """Return everything that was noted; empty if the job is unknown."""
    if ref.queue:
        rows = connection.rows(_SQL["job"], (ref.id, connection.names.known_queue(ref.queue)))
    else:
        rows = connection.rows(_SQL["anywhere"], (ref.id,))
    if not rows:
        return Notes()
    seq = rows[0][0]
    progress = connection.one(_SQL["progress"], (seq,))
    return Notes(
        progress=None if progress is None else progress[0],
        log=tuple(connection.rows(_SQL["lines"], (seq,))),
        steps=tuple(connection.rows(_SQL["steps"], (seq,))),
    )


def _write(tx: Transaction, seq: int, note: Note) -> Noted:
    match note:
        case Step(name=name, data=data):
            existing = tx.one(_SQL["step"], (seq, name))
            if existing is not None:
                return Noted(existing=existing[0])
            tx.run(_SQL["add_step"], (seq, name, data))
        case Progress(data=data):
            tx.run(_SQL["set_progress"], (seq, data))
        case LogLine(lease=lease, at=at, text=text):
            readable = text.encode("utf-8", "replace").decode()
            tx.run(_SQL["add_line"], (seq, lease.fence, at, readable))
        case _:
            assert_never(note)
    return _WRITTEN
