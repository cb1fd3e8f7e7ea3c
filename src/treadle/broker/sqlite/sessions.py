"""Sessions: who may claim, what a worker still holds, and what nobody holds any more."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from treadle.broker.sqlite import slots
from treadle.broker.sqlite.connection import Connection, Row
from treadle.broker.sqlite.history import edges
from treadle.broker.sqlite.rows import SEQ, record, stored
from treadle.broker.sqlite.statements import load
from treadle.broker.sqlite.transaction import Transaction
from treadle.broker.values import Lease, Opened, Overdue, Pulse, SessionInfo
from treadle.domain.job import HOUR_MS, Record
from treadle.errors import SessionEnded

_SQL = load("sessions")
_LONG_AGO_MS = HOUR_MS
_FORGOTTEN_AFTER_MS = 31 * 24 * HOUR_MS
"""Names of sessions are shown in the records that they ran, so they stay as long as most of those."""


def open_session(tx: Transaction, name: str, lease_ms: int, info: bytes) -> Opened:
    """Begin a session and end the earlier ones of its name; return what those still run."""
    inherited: list[Record] = []
    for (number,) in tx.rows(_SQL["of_name"], (name,)):
        inherited += [undecided(tx.connection, row) for row in tx.rows(_SQL["held"], (number,))]
    tx.run(_SQL["take_over"], (tx.now, name))
    rows = tx.rows(_SQL["add"], (name, lease_ms, stored(tx.now + lease_ms), tx.now, info))
    tx.effects.everybody = True
    session = tx.names.session(rows[0][0])
    return Opened(now=tx.now, session=session, inherited=tuple(inherited))


def close_session(tx: Transaction, session: str) -> None:
    """End a session, if it is known and has not ended."""
    tx.run(_SQL["close"], (tx.now, tx.names.session_number(session)))
    tx.effects.everybody = True


def living(tx: Transaction, session: str) -> int:
    """Return the number of a session that may claim.

    Raises:
        SessionEnded: if it has ended or expired.
    """
    number, lease_ms, expires = _not_ended(tx, session)
    # A clock that was set back would make the lease longer: it is never more than one from now.
    if min(expires, tx.now + lease_ms) <= tx.now:
        raise SessionEnded(f"the lease of session {session!r} is over: renew it, then claim")
    return number


def heartbeat(tx: Transaction, session: str, held: Sequence[Lease]) -> Pulse:
    """Renew a lease; compare what the session holds with what it believes to hold."""
    number, lease_ms, _ = _not_ended(tx, session)
    tx.run(_SQL["renew"], (stored(tx.now + lease_ms), number))
    stands = {
        Lease(tx.names.queue_name(queue), str(job_id), fence): cancel
        for job_id, queue, fence, cancel in tx.rows(_SQL["holds"], (number,))
    }
    believed = set(held)
    orphans: tuple[Record, ...] = ()
    if not believed.issuperset(stands):
        shown = [undecided(tx.connection, row) for row in tx.rows(_SQL["held"], (number,))]
        orphans = tuple(one for one in shown if _lease(one) not in believed)
    return Pulse(
        now=tx.now,
        lost=tuple(lease for lease in held if lease not in stands),
        orphans=orphans,
        cancels=tuple(lease for lease in held if stands.get(lease)),
    )


def overdue(connection: Connection, now: int, limit: int) -> tuple[Overdue, bool]:
    """Return what somebody must decide about; tell whether leases must be cut after a jump back."""
    records: list[Record] = []
    living = {number for number, expires, _ in connection.rows(_SQL["open"]) if expires > now}
    for number in _running_sessions(connection):
        if len(records) >= limit:
            break
        if number not in living:
            sql = _SQL["held_by_nobody" if number is None else "held_few"]
            parameters = (
                (limit - len(records),) if number is None else (number, limit - len(records))
            )
            records += [undecided(connection, row) for row in connection.rows(sql, parameters)]
    left = limit - len(records)
    if left > 0:
        records += [
            undecided(connection, row) for row in connection.rows(_SQL["looks"], (now, left))
        ]
    for key in slots.due_keys(connection, now):
        left = limit - len(records)
        if left <= 0:
            break
        rows = connection.rows(_SQL["waiters"], (key, now, left))
        records += [undecided(connection, row) for row in rows]
    return Overdue(now=now, records=tuple(records)), _has_jumped(connection, now)


def cut_leases(tx: Transaction) -> None:
    """Bring leases that end too late, because the clock was set back, to one lease from now."""
    tx.run(_SQL["cut"], {"now": tx.now})


def shown(connection: Connection) -> list[SessionInfo]:
    """Describe the sessions that have not ended."""
    return [
        SessionInfo(
            session=connection.names.session(number),
            name=name,
            lease_ms=lease_ms,
            expires=expires,
            opened=opened,
            running=running,
            info=info,
        )
        for number, name, lease_ms, expires, opened, info, running in connection.rows(_SQL["shown"])
    ]


def purge(tx: Transaction) -> None:
    """Drop the sessions that ended, or expired, long ago and run nothing."""
    before = tx.now - _LONG_AGO_MS
    tx.run(_SQL["end_expired"], {"now": tx.now, "before": before})
    tx.run(_SQL["drop_info"], (before,))
    tx.run(_SQL["drop"], (tx.now - _FORGOTTEN_AFTER_MS,))


def undecided(connection: Connection, row: Row) -> Record:
    """Show what is needed to decide: job without payload, head, edges."""
    found = edges(connection, row[SEQ])
    shown_row = record(connection, row)
    return structs.replace(shown_row, edges=found) if found else shown_row


def _not_ended(tx: Transaction, session: str) -> tuple[int, int, int]:
    """Return number, lease and expiry of a session that has not ended, expired or not."""
    row = tx.one(_SQL["get"], (tx.names.session_number(session),))
    if row is None:
        raise SessionEnded(f"session {session!r} is unknown here: open a new one")
    number, name, lease_ms, expires, ended, taken = row
    if taken:
        raise SessionEnded(
            f"session {session!r} has ended: another process opened one as {name!r}", taken=True
        )
    if ended is not None:
        raise SessionEnded(f"session {session!r} was closed: open a new one")
    return number, lease_ms, expires


def _running_sessions(connection: Connection) -> list[int | None]:
    """Return the sessions that run something, by one seek for each."""
    found: list[int | None] = []
    if connection.rows(_SQL["held_by_nobody"], (1,)):
        found.append(None)
    row = connection.one(_SQL["next_running"], (-1,))
    while row is not None:
        found.append(row[0])
        row = connection.one(_SQL["next_running"], (row[0],))
    return found


def _has_jumped(connection: Connection, now: int) -> bool:
    return any(expires > now + lease for _, expires, lease in connection.rows(_SQL["open"]))


def _lease(record: Record) -> Lease:
    return Lease(record.job.queue, record.job.id, record.head.fence)
