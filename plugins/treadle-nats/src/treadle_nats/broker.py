"""The NATS broker: jobs in a log on JetStream, for any number of processes of any number of machines."""

# ruff: noqa: D102 - the promise of each method stands once, in `treadle.broker.base`

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import anyio

from treadle.broker.base import BrokerBase, Clock
from treadle.broker.sqlite import claims, control, events, listing, notebook, purge, sessions
from treadle.broker.sqlite.history import standing
from treadle.broker.sqlite.transaction import Transaction
from treadle.broker.url import BrokerUrl
from treadle.broker.values import (
    Capability,
    Claimed,
    Conflict,
    Description,
    Document,
    Enqueued,
    Events,
    Filter,
    Lease,
    Note,
    Noted,
    Notes,
    Opened,
    Order,
    Overdue,
    Page,
    Pulse,
    SessionInfo,
    Settled,
    Stats,
    Turned,
)
from treadle.domain.job import Job, Record, Ref
from treadle.domain.outcome import Write
from treadle.errors import SessionEnded
from treadle_nats import commands
from treadle_nats.address import locate
from treadle_nats.asker import Asker
from treadle_nats.bells import EVENTS, Bell
from treadle_nats.describe import describe, erase
from treadle_nats.questions import Do, Look, Say
from treadle_nats.wire import pack

T = TypeVar("T")
_LOOK_AGAIN_S = 1.0
"""How often a waiting claim looks at the tables, whether it was woken or not; no server is asked."""


class NatsBroker(BrokerBase):
    """A namespace on JetStream. One thread for each process and namespace reads and writes its log."""

    capabilities = frozenset(
        {Capability.PUSH, Capability.FUSED, Capability.DURABLE, Capability.SHARED}
    )

    def __init__(self, url: BrokerUrl, clock: Clock) -> None:
        super().__init__(url)
        self._address = locate(url)
        self._clock = clock
        self._asker = Asker(self._address)

    def another(self) -> NatsBroker:
        return NatsBroker(self.url, self._clock)

    async def connect(self) -> None:
        await self._asker.ask(Do(self._asker.engine().joined))

    async def disconnect(self) -> None:
        await self._asker.end()

    async def open(self, name: str, lease_ms: int, info: bytes) -> Opened:
        opened: Opened = await self._say(commands.Open(name, lease_ms, info))
        return opened

    async def close(self, session: str) -> None:
        await self._say(commands.Close(session))

    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        enqueued: Enqueued = await self._say(commands.Enqueue(tuple(jobs)))
        return enqueued

    async def claim(
        self, session: str, queues: Sequence[str], limit: int, wait_ms: int = 0
    ) -> Claimed:
        claim = commands.Claim(session, tuple(queues), limit)
        if wait_ms <= 0 or limit <= 0:
            return (await self._claim(claim))[0]
        until = anyio.current_time() + wait_ms / 1_000
        while True:
            bell = Bell(queues)
            bells = self._asker.engine().bells
            bells.add(bell)
            try:
                claimed, due = await self._look(partial(_due, claim=claim), fresh=False)
                if due is not None and due <= claimed.now:
                    claimed, is_cut = await self._claim(claim)
                    due = claimed.now if is_cut else None
                left = until - anyio.current_time()
                if claimed.records or left <= 0:
                    return claimed
                if due is not None:
                    left = min(left, max(due - claimed.now, 1) / 1_000)
                with anyio.move_on_after(min(left, _LOOK_AGAIN_S)):
                    await bell.event.wait()
            finally:
                bells.remove(bell)

    async def _claim(self, claim: commands.Claim) -> tuple[Claimed, bool]:
        claimed: tuple[Claimed, bool] = await self._say(claim)
        return claimed

    async def apply(self, writes: Sequence[Write]) -> Settled:
        if not writes:
            return await self._look(lambda tx: Settled(now=tx.now, results=()))
        settled: Settled = await self._say(commands.Apply(tuple(writes)))
        return settled

    async def turn(
        self, session: str, writes: Sequence[Write], queues: Sequence[str], limit: int
    ) -> Turned:
        claim = commands.Claim(session, tuple(queues), limit)
        turned: Turned | SessionEnded = await self._say(commands.Turn(tuple(writes), claim))
        if isinstance(turned, SessionEnded):
            raise turned
        return turned

    async def heartbeat(self, session: str, held: Sequence[Lease]) -> Pulse:
        pulse: Pulse = await self._say(commands.Beat(session, tuple(held)))
        return pulse

    async def note(self, session: str, items: Sequence[Note]) -> Sequence[Noted | Conflict]:
        noted: Sequence[Noted | Conflict] = await self._say(
            commands.NoteDown(session, tuple(items))
        )
        return noted

    async def overdue(self, limit: int) -> Overdue:
        found, has_jumped = await self._look(
            lambda tx: sessions.overdue(tx.connection, tx.now, limit)
        )
        if has_jumped:
            await self._say(commands.CutLeases())
        return found

    async def purge(self, limit: int) -> int:
        dropped, more = 0, True
        while more and dropped < limit:
            chunk = min(limit - dropped, purge.CHUNK)
            count, more = await self._say(commands.Purge(chunk))
            dropped += count
        return dropped

    async def get(self, refs: Sequence[Ref]) -> Sequence[Record | None]:
        return await self._look(lambda tx: [standing(tx.connection, ref, tx.now) for ref in refs])

    async def notes(self, ref: Ref) -> Notes:
        return await self._look(lambda tx: notebook.read(tx.connection, ref=ref))

    async def find(
        self,
        filter: Filter,
        *,
        order: Order = Order.NEWEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        return await self._look(
            lambda tx: listing.page(tx.connection, tx.now, filter, order, cursor, max(limit, 1))
        )

    async def stats(self) -> Stats:
        return await self._look(lambda tx: control.stats(tx.connection, tx.now))

    async def sessions(self) -> Sequence[SessionInfo]:
        return await self._look(lambda tx: sessions.shown(tx.connection))

    async def pause(self, queue: str, paused: bool) -> None:
        await self._say(commands.Pause(queue, paused))

    async def set_limit(self, key: str, running: int | None) -> None:
        await self._say(commands.LimitKey(key, running))

    async def set_queue_limit(self, queue: str, waiting: int | None) -> None:
        await self._say(commands.LimitQueue(queue, waiting))

    async def limits(self) -> tuple[tuple[str, str, int], ...]:
        return await self._look(lambda tx: control.limits(tx.connection))

    async def document(self, name: str) -> Document | None:
        return await self._look(lambda tx: control.document(tx.connection, name=name))

    async def documents(self, prefix: str) -> Sequence[Document]:
        return await self._look(lambda tx: control.documents(tx.connection, prefix=prefix))

    async def put_document(self, name: str, data: bytes | None, version: int) -> Document | None:
        document: Document | None = await self._say(commands.PutDocument(name, data, version))
        return document

    async def events(self, after: str | None, *, limit: int = 1_000, wait_ms: int = 0) -> Events:
        def read(tx: Transaction) -> Events:
            return events.read(tx.connection, after=after, limit=limit)

        found = await self._look(read)
        if after is None or wait_ms <= 0:
            return found
        until = anyio.current_time() + wait_ms / 1_000
        while not found.entries and (left := until - anyio.current_time()) > 0:
            bell = Bell((EVENTS,))
            bells = self._asker.engine().bells
            bells.add(bell)
            try:
                found = await self._look(read, fresh=False)
                if not found.entries:
                    with anyio.move_on_after(min(left, _LOOK_AGAIN_S)):
                        await bell.event.wait()
            finally:
                bells.remove(bell)
        return found

    async def describe(self) -> Description:
        return await self._asker.ask(Do(partial(describe, self._asker.engine())))

    async def erase(self) -> None:
        await self._asker.ask(Do(partial(erase, self._asker.engine())))
        await self.disconnect()

    async def _say(self, command: commands.Command) -> Any:
        return await self._asker.ask(Say(pack(command), self._now()))

    async def _look(self, work: Callable[[Transaction], T], *, fresh: bool = True) -> T:
        return await self._asker.ask(Look(work, self._now(), fresh=fresh))

    def _now(self) -> int | None:
        return self._clock.time_ms() if self._address.client_time else None


def _due(tx: Transaction, claim: commands.Claim) -> tuple[Claimed, int | None]:
    """Tell when something can be claimed; nothing is changed.

    Raises:
        SessionEnded: if the session may not claim.
    """
    sessions.living(tx, claim.session)
    return Claimed(now=tx.now, records=()), claims.next_due(tx, claim.queues)
