"""What can stand in the log: each command, and what it does to the tables of whoever reads it.

A command says what was asked, not what came of it. Every process runs every command, in the order of the
log and at the instant that the server gave it, so all come to the same tables. Nothing in here may
depend on anything but the command, the instant and the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from treadle.broker.sqlite import changes, claims, control, enqueue, notebook, purge, sessions
from treadle.broker.sqlite.transaction import Transaction
from treadle.broker.values import (
    Claimed,
    Conflict,
    Document,
    Enqueued,
    Lease,
    Note,
    Noted,
    Opened,
    Pulse,
    Settled,
    Turned,
)
from treadle.domain.job import Job
from treadle.domain.outcome import Write
from treadle.errors import SessionEnded


class Command(Protocol):
    """One entry of the log."""

    def run(self, tx: Transaction) -> object:
        """Do it; what is returned or raised is the answer to who asked."""
        ...


class Open(Struct, frozen=True, array_like=True):
    """Begin a session."""

    name: str
    lease_ms: int
    info: bytes

    def run(self, tx: Transaction) -> Opened:
        """Begin it; the earlier one of that name ends."""
        return sessions.open_session(tx, self.name, self.lease_ms, self.info)


class Close(Struct, frozen=True, array_like=True):
    """End a session."""

    session: str

    def run(self, tx: Transaction) -> None:
        """End it, if it is known."""
        sessions.close_session(tx, self.session)


class Enqueue(Struct, frozen=True):
    """Store jobs."""

    jobs: Sequence[Job]

    def run(self, tx: Transaction) -> Enqueued:
        """Store each once, or say why not."""
        return Enqueued(now=tx.now, results=enqueue.store(tx, self.jobs))


class Claim(Struct, frozen=True, array_like=True):
    """Make due jobs running."""

    session: str
    queues: Sequence[str]
    limit: int

    def run(self, tx: Transaction) -> tuple[Claimed, bool]:
        """Claim; tell whether there may be more that was not looked at."""
        number = sessions.living(tx, self.session)
        records, is_cut = claims.claim(tx, number, self.queues, self.limit)
        return Claimed(now=tx.now, records=records), is_cut


class Apply(Struct, frozen=True):
    """Apply writes."""

    writes: Sequence[Write]

    def run(self, tx: Transaction) -> Settled:
        """Apply each whose fence matches."""
        return Settled(now=tx.now, results=changes.apply(tx, self.writes))


class Turn(Struct, frozen=True):
    """Apply, then claim."""

    writes: Sequence[Write]
    claim: Claim

    def run(self, tx: Transaction) -> Turned | SessionEnded:
        """Do both; that the session has ended is returned, since the writes stay."""
        results = changes.apply(tx, self.writes)
        try:
            claimed, _ = self.claim.run(tx)
        except SessionEnded as ended:
            return ended
        return Turned(now=tx.now, results=results, records=claimed.records)


class Beat(Struct, frozen=True, array_like=True):
    """Renew a lease."""

    session: str
    held: Sequence[Lease]

    def run(self, tx: Transaction) -> Pulse:
        """Renew it, and compare what is held."""
        return sessions.heartbeat(tx, self.session, self.held)


class CutLeases(Struct, frozen=True, array_like=True):
    """Cut leases that end too late because the clock was set back."""

    def run(self, tx: Transaction) -> None:
        """Cut them to one lease from now."""
        sessions.cut_leases(tx)


class NoteDown(Struct, frozen=True):
    """Write what running attempts have to say."""

    session: str
    items: Sequence[Note]

    def run(self, tx: Transaction) -> Sequence[Noted | Conflict]:
        """Write each note whose lease is the session's."""
        return notebook.write(tx, self.session, self.items)


class Purge(Struct, frozen=True, array_like=True):
    """Drop what is past its retention."""

    limit: int

    def run(self, tx: Transaction) -> tuple[int, bool]:
        """Drop up to `limit` records; tell how many, and whether there may be more."""
        dropped, more = purge.purge(tx, self.limit)
        purge.tidy(tx)
        return dropped, more


class Pause(Struct, frozen=True, array_like=True):
    """Stop or resume the claims of a queue."""

    queue: str
    paused: bool

    def run(self, tx: Transaction) -> None:
        """Write it down."""
        control.pause(tx, self.queue, paused=self.paused)


class LimitKey(Struct, frozen=True, array_like=True):
    """Set or lift the limit of a concurrency key."""

    key: str
    running: int | None

    def run(self, tx: Transaction) -> None:
        """Set it, and let in who has room now."""
        control.set_limit(tx, self.key, self.running)


class LimitQueue(Struct, frozen=True, array_like=True):
    """Set or lift the length limit of a queue."""

    queue: str
    waiting: int | None

    def run(self, tx: Transaction) -> None:
        """Write it down."""
        control.set_queue_limit(tx, self.queue, self.waiting)


class PutDocument(Struct, frozen=True, array_like=True):
    """Write or remove a control document."""

    name: str
    data: bytes | None
    version: int

    def run(self, tx: Transaction) -> Document | None:
        """Write it if its version is still the one that was read."""
        return control.put_document(tx, self.name, self.data, self.version)
