"""Sessions that live too long or too short, and jobs that nobody looks after."""

# ruff: noqa: ARG002, D102 - the first line of each class says what its methods do wrong.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from msgspec import structs

from treadle.broker.memory.lane import Row
from treadle.broker.memory.sessions import Session, Sessions
from treadle.broker.values import Lease, Opened, Pulse
from treadle.conformance.mutants.loose import LooseStore, LooseTable
from treadle.conformance.mutants.mutant import mutant


class _Table(LooseTable):
    """Has the sessions that the mutant wants."""

    sessions_class: ClassVar[type[Sessions]] = Sessions

    def __init__(self) -> None:
        super().__init__()
        self.sessions = self.sessions_class()


class _Undead(Sessions):
    """Lets a closed session live on."""

    def get(self, id: str) -> Session:
        session = self._all.get(id)
        if session is not None and session.ended is not None and not session.taken:
            session.ended = None
        return super().get(id)


@mutant("M37", case="C444")
class ClosedSessionsComeBack(_Table):
    """A heartbeat brings a closed session back to life."""

    sessions_class = _Undead


class _Timeless(Sessions):
    """Lets a session claim as long as it has not ended."""

    def living(self, id: str, now: int) -> Session:
        return self.get(id)


@mutant("M38", case="C225")
class ExpiredSessionsClaim(_Table):
    """A session whose lease is over may still claim."""

    sessions_class = _Timeless


class _Renewing(Sessions):
    """Renews the lease of who claims."""

    def living(self, id: str, now: int) -> Session:
        session = super().living(id, now)
        session.expires = now + session.lease_ms
        return session


@mutant("M39", case="C450")
class ClaimsRenewLeases(_Table):
    """A claim moves the end of its session's lease."""

    sessions_class = _Renewing


@mutant("M40", case="C442")
class ExpiredSessionsAreGivenUp(LooseStore):
    """A heartbeat that comes late is refused, though nobody has decided about anything."""

    def heartbeat(self, session: str, held: Sequence[Lease]) -> Pulse:
        with self._lock:
            self._table.sessions.living(session, self._clock.time_ms())
        return super().heartbeat(session, held)


@mutant("M41", case="C432")
class HeartbeatsRenewNothing(LooseStore):
    """A heartbeat does not move the end of the lease."""

    def heartbeat(self, session: str, held: Sequence[Lease]) -> Pulse:
        with self._lock:
            living = self._table.sessions.get(session)
            expires = living.expires
        pulse = super().heartbeat(session, held)
        living.expires = expires
        return pulse


class _Twins(Sessions):
    """Lets the earlier sessions of a name live on."""

    def open(self, name: str, lease_ms: int, info: bytes, now: int) -> tuple[Session, list[Row]]:
        alive = [each for each in self._all.values() if each.name == name and each.ended is None]
        opened = super().open(name, lease_ms, info, now)
        for each in alive:
            each.ended, each.taken = None, False
        return opened


@mutant("M42", case="C227")
class NamesAreNotTakenOver(_Table):
    """A session lives on when another one is opened under its name."""

    sessions_class = _Twins


@mutant("M43", case="C405")
class NothingIsInherited(LooseStore):
    """A session is not told what the earlier one of its name still ran."""

    def open(self, name: str, lease_ms: int, info: bytes) -> Opened:
        return structs.replace(super().open(name, lease_ms, info), inherited=())


class _Forgetful(Sessions):
    """Looks after those that expired, and not after those that were closed."""

    def overdue(self, now: int) -> Iterator[Row]:
        for session in self._all.values():
            if session.held and session.has_expired(now):
                yield from session.held.values()


@mutant("M44", case="C410")
class ClosedSessionsKeepTheirJobs(_Table):
    """What a closed session still ran is overdue only when its lease would have been over."""

    sessions_class = _Forgetful


class _Impatient(Sessions):
    """Looks after sessions whose lease is half over."""

    def overdue(self, now: int) -> Iterator[Row]:
        for session in self._all.values():
            half = session.expires - session.lease_ms // 2
            if session.held and (session.ended is not None or half <= now):
                yield from session.held.values()


@mutant("M45", case="C433")
class LeasesEndEarly(_Table):
    """A job is overdue when half of its lease is over."""

    sessions_class = _Impatient


@mutant("M46", case="C439")
class OrphansAreNotNamed(LooseStore):
    """A heartbeat does not name what the session holds without knowing."""

    def heartbeat(self, session: str, held: Sequence[Lease]) -> Pulse:
        return structs.replace(super().heartbeat(session, held), orphans=())
