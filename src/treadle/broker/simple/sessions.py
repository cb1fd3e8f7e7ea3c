"""Sessions: who works, who took over from whom, and what nobody alive runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from msgspec import structs

from treadle.broker.simple import keys
from treadle.broker.simple.books import Books
from treadle.broker.simple.records import Shower
from treadle.broker.simple.values import Row, Session
from treadle.broker.values import Lease, Opened, Overdue, Pulse, SessionInfo
from treadle.domain.job import HOUR_MS, Ref
from treadle.domain.state import State
from treadle.errors import SessionEnded

_LONG_AGO_MS = HOUR_MS


def begin(books: Books, shower: Shower, name: str, lease_ms: int, info: bytes) -> Opened:
    """Begin a session and end the earlier ones of its name; return what those still run."""
    inherited: list[Row] = []
    for earlier in _all(books):
        if earlier.name != name:
            continue
        inherited += held_by(books, earlier.id)
        if earlier.ended is None:
            _write(books, structs.replace(earlier, ended=books.now, taken=True))
    books.counters.session += 1
    session = Session(
        id=f"{name}#{books.counters.session}",
        name=name,
        lease_ms=lease_ms,
        expires=books.now + lease_ms,
        opened=books.now,
        info=info,
    )
    _write(books, session)
    shown = tuple(shower.undecided(row) for row in inherited)
    return Opened(now=books.now, session=session.id, inherited=shown)


def close(books: Books, id: str) -> None:
    """End a session, if it is known and has not ended."""
    session = books.read(Session, keys.SESSION, id)
    if session is not None and session.ended is None:
        _write(books, structs.replace(session, ended=books.now))


def standing(books: Books, id: str) -> Session:
    """Return a session that has not ended, expired or not.

    Raises:
        SessionEnded: if it was closed, its name was taken, or it is unknown.
    """
    session = books.read(Session, keys.SESSION, id)
    if session is None:
        raise SessionEnded(f"session {id!r} is unknown here: open a new one")
    if session.taken:
        raise SessionEnded(
            f"session {id!r} has ended: another process opened one as {session.name!r}", taken=True
        )
    if session.ended is not None:
        raise SessionEnded(f"session {id!r} was closed: open a new one")
    return session


def insist_that_it_lives(books: Books, id: str) -> None:
    """Let a session claim only while its lease runs.

    Raises:
        SessionEnded: if it has ended or expired.
    """
    if standing(books, id).is_over(books.now):
        raise SessionEnded(f"the lease of session {id!r} is over: renew it, then claim")


def renew(books: Books, shower: Shower, id: str, held: Sequence[Lease]) -> Pulse:
    """Renew a lease, and compare what the session runs with what it believes to run."""
    session = standing(books, id)
    _write(books, structs.replace(session, expires=books.now + session.lease_ms))
    rows = {row.ref: row for row in held_by(books, id)}
    lost: list[Lease] = []
    cancels: list[Lease] = []
    for lease in held:
        row = rows.get(Ref(lease.queue, lease.id))
        if row is None or row.head.fence != lease.fence:
            lost.append(lease)
        elif row.head.cancel:
            cancels.append(lease)
    kept = {Ref(lease.queue, lease.id) for lease in held if lease not in lost}
    orphans = tuple(shower.undecided(row) for ref, row in rows.items() if ref not in kept)
    return Pulse(now=books.now, lost=tuple(lost), orphans=orphans, cancels=tuple(cancels))


def overdue(books: Books, shower: Shower, limit: int) -> Overdue:
    """Return records that somebody must decide about; nothing of them is changed."""
    for session in _all(books):
        if session.expires > books.now + session.lease_ms:
            # The clock was set back: a lease is never more than one lease away from its end.
            _write(books, structs.replace(session, expires=books.now + session.lease_ms))
    rows = islice(_overdue(books), max(limit, 0))
    return Overdue(now=books.now, records=tuple(shower.undecided(row) for row in rows))


def shown(books: Books) -> list[SessionInfo]:
    """Describe the sessions that have not ended."""
    return [
        SessionInfo(
            session=session.id,
            name=session.name,
            lease_ms=session.lease_ms,
            expires=session.expires,
            opened=session.opened,
            running=len(books.first(Ref, keys.HELD, session.id)),
            info=session.info,
        )
        for session in sorted(_all(books), key=lambda session: session.opened)
        if session.ended is None
    ]


def forget_old(books: Books) -> None:
    """Drop the sessions that ended, or expired, long ago and run nothing."""
    before = books.now - _LONG_AGO_MS
    for session in _all(books):
        over = session.expires if session.ended is None else session.ended
        if over <= before and not books.first(Ref, keys.HELD, session.id, most=1):
            books.drop(keys.SESSION, session.id)


def held_by(books: Books, session: str) -> list[Row]:
    """Return what a session runs."""
    return [books.row(ref) for ref in books.first(Ref, keys.HELD, session)]


def is_run_by(row: Row | None, session: str, fence: int) -> bool:
    """Tell whether a session runs a job under a fence."""
    if row is None or row.head.state is not State.RUNNING:
        return False
    return row.head.fence == fence and row.head.session == session


def _overdue(books: Books) -> Iterator[Row]:
    for session in _all(books):
        if session.is_over(books.now):
            yield from held_by(books, session.id)
    for ref in books.first(Ref, keys.LOOK, below=books.now + 1):
        yield books.row(ref)
    for key in books.waiting_keys():
        if books.has_room(key):
            rows = map(books.row, books.first(Ref, keys.WAITER, key))
            yield from (row for row in rows if row.head.due <= books.now)


def _all(books: Books) -> list[Session]:
    return books.first(Session, keys.SESSION)


def _write(books: Books, session: Session) -> None:
    books.write(session, keys.SESSION, session.id)
