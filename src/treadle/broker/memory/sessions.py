"""Worker sessions: their leases, and what they run."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from treadle.broker.memory.lane import Row
from treadle.broker.values import SessionInfo
from treadle.domain.job import HOUR_MS
from treadle.errors import SessionEnded

_LONG_AGO_MS = HOUR_MS


class Session(Struct):
    """One session. `held` are the rows that it runs, by sequence number."""

    id: str
    name: str
    lease_ms: int
    expires: int
    opened: int
    info: bytes
    held: dict[int, Row] = {}
    ended: int | None = None
    taken: bool = False

    def has_expired(self, now: int) -> bool:
        """Tell whether its lease is over.

        A clock that was set back would make the lease longer: it is never more than one lease
        away from now.
        """
        self.expires = min(self.expires, now + self.lease_ms)
        return self.expires <= now


class Sessions:
    """All sessions that matter: living ones, and ended ones that somebody may still ask about."""

    __slots__ = ("_all", "_count")

    def __init__(self) -> None:
        self._all: dict[str, Session] = {}
        self._count = 0

    def open(self, name: str, lease_ms: int, info: bytes, now: int) -> tuple[Session, list[Row]]:
        """Begin a session and end the earlier ones of its name; return what those still run."""
        inherited: list[Row] = []
        for earlier in self._all.values():
            if earlier.name == name:
                inherited.extend(earlier.held.values())
                if earlier.ended is None:
                    earlier.ended = now
                    earlier.taken = True
        self._count += 1
        session = Session(
            id=f"{name}#{self._count}",
            name=name,
            lease_ms=lease_ms,
            expires=now + lease_ms,
            opened=now,
            info=info,
        )
        self._all[session.id] = session
        return session, inherited

    def close(self, id: str, now: int) -> None:
        """End a session, if it is known and has not ended."""
        session = self._all.get(id)
        if session is not None and session.ended is None:
            session.ended = now

    def get(self, id: str) -> Session:
        """Return a session that has not ended, expired or not.

        Raises:
            SessionEnded: if it was closed, its name was taken, or it is unknown.
        """
        session = self._all.get(id)
        if session is None:
            raise SessionEnded(f"session {id!r} is unknown here: open a new one")
        if session.taken:
            raise SessionEnded(
                f"session {id!r} has ended: another process opened one as {session.name!r}",
                taken=True,
            )
        if session.ended is not None:
            raise SessionEnded(f"session {id!r} was closed: open a new one")
        return session

    def living(self, id: str, now: int) -> Session:
        """Return a session that may claim.

        Raises:
            SessionEnded: if it has ended or expired.
        """
        session = self.get(id)
        if session.has_expired(now):
            raise SessionEnded(f"the lease of session {id!r} is over: renew it, then claim")
        return session

    def hold(self, row: Row) -> None:
        """Note that the session in the row's head runs it."""
        session = self._all.get(row.head.session)
        if session is not None:
            session.held[row.seq] = row

    def release(self, row: Row) -> None:
        """Note that the session in the row's head runs it no longer."""
        session = self._all.get(row.head.session)
        if session is not None:
            session.held.pop(row.seq, None)

    def overdue(self, now: int) -> Iterator[Row]:
        """Yield what sessions run that have ended or expired."""
        for session in self._all.values():
            if session.held and (session.ended is not None or session.has_expired(now)):
                yield from session.held.values()

    def shown(self) -> list[SessionInfo]:
        """Describe the sessions that have not ended."""
        return [
            SessionInfo(
                session=session.id,
                name=session.name,
                lease_ms=session.lease_ms,
                expires=session.expires,
                opened=session.opened,
                running=len(session.held),
                info=session.info,
            )
            for session in self._all.values()
            if session.ended is None
        ]

    def purge(self, now: int) -> None:
        """Drop the sessions that ended, or expired, long ago and run nothing."""
        before = now - _LONG_AGO_MS
        for session in list(self._all.values()):
            over = session.expires if session.ended is None else session.ended
            if over <= before and not session.held:
                del self._all[session.id]
