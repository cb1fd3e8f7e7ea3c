"""The Broker protocol: all that a store must do, and what each operation promises.

The broker stores, orders and compares; it never decides. A record is a body (written once) and a
head (state, fence, attempt, due ...: what changes). There is ONE time index, `due`: of a waiting job the
instant it may be claimed, of a blocked one when to look at it again, of a final one when it may
be purged; the lease of a running job ends with its session.

What holds for every operation:

- Every operation takes and gives batches. Results stand in the order of what was asked.
- An operation on several jobs is atomic per job; where the store can, per call.
- Every write that moves a job compares the fence first. Nothing is ever written unconditionally.
- Fences of an id only grow, for ever: the fence of a new record is greater than every fence that the
  store ever gave this id, also if the id was forgotten since. So no worker that was cut off writes
  into a later life of its job. Which number it is, is the store's own: a floor that is raised by the
  fence of each record that goes, or a revision of the whole store.
- Cancelling a call never loses a job and never tears one: the write happened as a whole or not at
  all. A claim that was cancelled after it was written is found by `heartbeat` as an orphan.
- Instants are broker time in ms; delays travel as durations. No client clock decides anything.
- Driver exceptions never escape: `BrokerUnavailable` if the store cannot be reached (the call had
  no effect, or, for `apply`, `turn` and `note`, an effect that the fence shows, or, for `claim` and
  `turn`, one that `heartbeat` shows as orphans),
  `Uncertain` from `enqueue` if it may have been stored, `BrokerRefused` if the store must not be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self, cast

from treadle.broker.url import BrokerUrl
from treadle.broker.values import (
    Applied,
    Capability,
    Claimed,
    Conflict,
    Description,
    Document,
    Duplicate,
    Durability,
    Enqueued,
    Events,
    Filter,
    Lease,
    LogEvent,
    LogLine,
    Note,
    Noted,
    Notes,
    Opened,
    Order,
    Overdue,
    Page,
    Progress,
    Pulse,
    QueueStats,
    SessionInfo,
    Settled,
    Stats,
    Step,
    Turned,
)
from treadle.domain.job import Job, Record, Ref
from treadle.domain.outcome import Write


class Clock(Protocol):
    """Where time comes from; passed in, so that tests can move it."""

    def time_ms(self) -> int:
        """Return wall-clock time in ms since the Unix epoch; it may jump."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        ...


class Broker(Protocol):
    """A store of jobs. One object belongs to one event loop; `another` makes one for a second loop."""

    @property
    def url(self) -> BrokerUrl:
        """Return the URL that it was made from."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Return its extras."""
        ...

    @property
    def backends(self) -> tuple[str, ...]:
        """Return the event loops that it runs on, of `asyncio` and `trio`."""
        ...

    @property
    def max_record(self) -> int:
        """Return how many bytes one record may have in this store."""
        ...

    def another(self) -> Broker:
        """Make an unconnected broker on the same store, for the event loop of another thread."""
        ...

    async def connect(self) -> None:
        """Make the store ready: create or migrate what is missing. Calling twice is harmless.

        Raises:
            BrokerUnavailable: if the store cannot be reached or written.
            BrokerRefused: if its schema or version must not be used.
        """
        ...

    async def disconnect(self) -> None:
        """Release threads and connections; sessions stay. Calling twice is harmless."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def open(self, name: str, lease_ms: int, info: bytes) -> Opened:
        """Begin a session under `name`; the earlier session of that name ends in the same step.

        `inherited` are the records that the earlier session still ran, payload-free: they stay
        running, without a living owner, until somebody decides and `apply` writes. A crash right
        after leaves a session that expires.
        """
        ...

    async def close(self, session: str) -> None:
        """End a session cleanly. What it still ran is overdue at once. Unknown ones are ignored."""
        ...

    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        """Store each job once, or say why not; when the call returns, `Applied` jobs are durable.

        Per job: `Applied`; `Duplicate` with the record that has the same (queue, id), also with
        another payload and also when it is only remembered, or with the holder of its unique key;
        or `Refused` (QUEUE_FULL, TOO_LARGE, STORAGE_FULL, UNKNOWN_PARENT). `Applied` says the fence
        of the new record, greater than every one that its id ever had. All or nothing
        per job; two calls with the same id at the same time store one. A job with `after` is stored
        blocked, with an edge to each parent; if all are final already it is looked at at once.
        A key that no longer holds (`domain.unique.holds`) is taken over. Jobs of one
        call that are due now keep their order inside (queue, priority).

        Raises:
            Uncertain: if the reply was lost; calling again with the same ids is safe.
            BrokerUnavailable: if nothing was stored.
        """
        ...

    async def claim(
        self, session: str, queues: Sequence[str], limit: int, wait_ms: int = 0
    ) -> Claimed:
        """Make up to `limit` due jobs running for `session`, never one of them twice.

        Order: queues as listed, then priority (strict), then due time; ties as enqueued. In one
        step per job: state running, attempt + 1, fence + 1, `claimed` and `session` set. A paused
        queue gives nothing. A job whose concurrency key is full goes to blocked(key) instead, in the
        same step, attempt untouched, and the search goes on. If nothing is due, wait at most
        `wait_ms` for something to become due, without polling. Records leave in the same step in
        which they become running, so a crash after it is a lost lease, never a lost job.

        Raises:
            SessionEnded: if the session has ended or expired; checked in the write itself.
        """
        ...

    async def apply(self, writes: Sequence[Write]) -> Settled:
        """Apply each write whose fence matches; answer the others with what stands.

        Per `Change`, all or nothing: replace the head (fence + 1, cancel flag cleared, `finished`
        set if final), move it in the index, append the history row, replace the edges, replace the
        body, insert follow-ups (one whose id exists is left), free its concurrency slot and
        make the first waiter of that key waiting, make blocked children of a final job due for a
        look. `Conflict` if the fence differs, if there is no such record, or if the change is not
        final while a cancel request stands. `Duplicate` if a `fresh` change finds its unique key
        held by another job. `CancelRequest` sets the flag of a running record under its fence;
        `Removal` removes a final one and remembers its id for `remember_ms` from now. Calling
        twice is harmless: the second call conflicts.
        """
        ...

    async def turn(
        self, session: str, writes: Sequence[Write], queues: Sequence[str], limit: int
    ) -> Turned:
        """Apply, then claim, in one round trip where the store can; never waits.

        The same as `apply` followed by `claim(wait_ms=0)`. If the session has ended the writes
        are still applied (their fences decide), and the claim raises.

        Raises:
            SessionEnded: as in `claim`; the writes were applied, so ask with `apply` again.
        """
        ...

    async def heartbeat(self, session: str, held: Sequence[Lease]) -> Pulse:
        """Renew the session's lease, and compare what it holds with what it believes to hold.

        A lease named lost was not changed: another session may run that job now. An expired
        session is renewed as long as it was not ended: what nobody decided meanwhile is held
        again. Calling twice is harmless.

        Raises:
            SessionEnded: if it was closed, or another one was opened under its name (`taken`).
        """
        ...

    async def note(self, session: str, items: Sequence[Note]) -> Sequence[Noted | Conflict]:
        """Write what a running attempt has to say, if the record runs under the lease's fence.

        A step is inserted if its name is absent and is durable when the call returns; if it is
        there, `existing` is what was written first. Progress replaces, log lines append. Notes
        go with the record; steps outlive attempts and retries.
        """
        ...

    async def overdue(self, limit: int) -> Overdue:
        """Return records that somebody must decide about: nothing is changed.

        Running ones whose session has expired, ended or is unknown (`session_ended` says so), and
        blocked ones that are due for a look (with their `edges`). One that is blocked on a full
        concurrency key may be left out: the slot that is freed lets it in. With policy, without payload.
        """
        ...

    async def purge(self, limit: int) -> int:
        """Drop up to `limit` final records past their retention; return how many were dropped.

        With a record go its payload, result, history and notes. Its id is remembered (id, state,
        fence) until `finished` + `policy.remember_ms`. Sessions that ended long ago and events
        beyond the last 10,000 go too.
        """
        ...

    async def get(self, refs: Sequence[Ref]) -> Sequence[Record | None]:
        """Return each job with payload, result, history and edges; None if it is unknown.

        A ref with the queue "" asks every queue. A remembered job comes back as `forgotten`.
        """
        ...

    async def notes(self, ref: Ref) -> Notes:
        """Return what handlers noted about a job; empty if it is unknown."""
        ...

    async def find(
        self,
        filter: Filter,
        *,
        order: Order = Order.NEWEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        """Return one page of heads that match, by creation.

        (queue, state) alone is a seek; for any other filter at most 5,000 records are examined.
        A record that is there during the whole listing is found exactly once.

        Raises:
            ConfigurationError: if the cursor is not one of this listing.
        """
        ...

    async def stats(self) -> Stats:
        """Return the counts of every queue, without counting jobs: O(queues)."""
        ...

    async def sessions(self) -> Sequence[SessionInfo]:
        """Return the sessions that have not ended, expired ones included."""
        ...

    async def pause(self, queue: str, paused: bool) -> None:
        """Stop or resume claims of a queue. Running jobs are not touched. Survives restarts."""
        ...

    async def set_limit(self, key: str, running: int | None) -> None:
        """Allow at most `running` jobs of a concurrency key at a time; None lifts the limit."""
        ...

    async def set_queue_limit(self, queue: str, waiting: int | None) -> None:
        """Refuse enqueues (QUEUE_FULL) while `waiting` jobs wait in the queue; None lifts it."""
        ...

    async def limits(self) -> tuple[tuple[str, str, int], ...]:
        """Return every limit that is set: ("key" or "queue", name, number)."""
        ...

    async def document(self, name: str) -> Document | None:
        """Return the control document of that name."""
        ...

    async def documents(self, prefix: str) -> Sequence[Document]:
        """Return the control documents whose name begins with `prefix`, by name."""
        ...

    async def put_document(self, name: str, data: bytes | None, version: int) -> Document | None:
        """Write a document if its version is `version` (0 = absent); data None removes it.

        Returns the document that stands after a write, or before one that was refused because
        the version differs: compare `version` to tell.

        Raises:
            TooLarge: if `data` has more than 64 KiB.
        """
        ...

    async def events(self, after: str | None, *, limit: int = 1_000, wait_ms: int = 0) -> Events:
        """Return events after a cursor; None gives the cursor of now and no entries.

        Waits up to `wait_ms` for a first one. Events are hints: each change leaves one, but the log keeps
        only the last 10,000.
        """
        ...

    async def describe(self) -> Description:
        """Read the live settings of the store and say what they promise."""
        ...

    async def erase(self) -> None:
        """Remove everything that is stored in this namespace; other namespaces are not touched.

        For namespaces made for one purpose: `qrun demo`, `bench`, `verify`. The broker is
        disconnected afterwards; who connects again finds a store that was never used. A crash
        half-way leaves some of it: calling again finishes it, and calling twice is harmless.
        Others that still use the namespace get `BrokerUnavailable`, then an empty store; what they
        write meanwhile is erased as well. Fences may begin anew: a worker of the erased store must
        not outlive it.

        Raises:
            BrokerUnavailable: if the store cannot be reached or written.
        """
        ...


class BrokerBase:
    """What brokers can derive: `turn` from apply and claim, the context manager, a URL.

    A new broker inherits this and implements the rest of `Broker`; each method here can be
    replaced by a better one.
    """

    capabilities: frozenset[Capability] = frozenset()
    backends: tuple[str, ...] = ("asyncio", "trio")
    max_record: int = 8 * 1024 * 1024

    def __init__(self, url: BrokerUrl) -> None:
        self.url = url

    async def __aenter__(self) -> Self:
        await self._self().connect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._self().disconnect()

    async def turn(
        self, session: str, writes: Sequence[Write], queues: Sequence[str], limit: int
    ) -> Turned:
        """Apply, then claim: two round trips."""
        broker = self._self()
        settled = await broker.apply(writes) if writes else None
        claimed = await broker.claim(session, queues, limit)
        results = () if settled is None else settled.results
        return Turned(now=claimed.now, results=results, records=claimed.records)

    def _self(self) -> Broker:
        return cast("Broker", self)


__all__ = [
    "Applied",
    "Broker",
    "BrokerBase",
    "Capability",
    "Claimed",
    "Clock",
    "Conflict",
    "Description",
    "Document",
    "Duplicate",
    "Durability",
    "Enqueued",
    "Events",
    "Filter",
    "Lease",
    "LogEvent",
    "LogLine",
    "Note",
    "Noted",
    "Notes",
    "Opened",
    "Order",
    "Overdue",
    "Page",
    "Progress",
    "Pulse",
    "QueueStats",
    "SessionInfo",
    "Settled",
    "Stats",
    "Step",
    "Turned",
]
