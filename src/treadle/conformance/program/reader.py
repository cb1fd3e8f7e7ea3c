"""What a client reads, and what it remembers of it: records as they were seen, places in listings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from treadle.broker.values import Conflict, Document, Duplicate, Events, Filter, Order, Page
from treadle.conformance.model import calls
from treadle.conformance.model.showing import sequence
from treadle.conformance.program import ops
from treadle.domain.job import Record, Ref
from treadle.domain.state import Shown

Ask = Callable[[calls.Call], Awaitable[object]]
"""Asks the broker; an error of the protocol comes back as a value."""


class Reader:
    """Reads what an operation names, and keeps every sighting of a record."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._seen: dict[Ref, list[Record]] = {}
        self._listing: calls.Find | None = None
        self._events: str | None = None
        self._versions: dict[str, int] = {}

    @property
    def known(self) -> tuple[Ref, ...]:
        """Return every job that was ever named."""
        return tuple(self._seen)

    async def begin(self) -> None:
        """Read the event log from here on."""
        if self._events is None:
            await self.follow(1)

    def name(self, refs: Iterable[Ref]) -> None:
        """Remember that there may be such jobs."""
        for one in refs:
            self._seen.setdefault(one, [])

    def sighting(self, one: Ref, ago: int) -> Record | None:
        """Return a job as it was seen so many sightings ago; None if it was not seen so often."""
        seen = self._seen.get(one, [])
        return seen[-ago] if 0 < ago <= len(seen) else None

    async def scan(self) -> None:
        """Read everything that can be read, in several ways that must agree."""
        await self._ask(calls.Count())
        await self.turn_pages(ops.List(limit=7))
        await self._ask(calls.Get(self.known))
        await self._ask(calls.ListSessions())
        for one in self.known:
            await self._ask(calls.ReadNotes(one))
        await self._ask(calls.ReadLimits())
        await self._ask(calls.ReadDocuments(""))
        await self.follow(1_000)

    async def glance(self) -> None:
        """Read every job, and the counts."""
        await self._ask(calls.Get(self.known))
        await self._ask(calls.Count())

    async def get_one(self, one: Ref) -> Record | None:
        """Read one job."""
        return next(iter(await self.get((one,))), None)

    async def get(self, refs: tuple[Ref, ...]) -> list[Record | None]:
        """Read jobs, and remember how they were seen."""
        if not refs:
            return []
        answer = sequence(await self._ask(calls.Get(refs))) or ()
        found = [one if isinstance(one, Record) else None for one in answer]
        self.note([one for one in found if one is not None])
        return found

    async def turn_pages(self, op: ops.List) -> None:
        """Turn pages of a listing, of a new one or of the one that is open."""
        if op.go_on and self._listing is None:
            return
        asked = self._listing if op.go_on else None
        if asked is None:
            state = Shown(op.state) if op.state else None
            wanted = Filter(queue=op.queue or None, state=state, text=op.text, error=op.error)
            order = Order.OLDEST if op.oldest else Order.NEWEST
            asked = calls.Find(filter=wanted, order=order, cursor=None, limit=op.limit)
        for _ in range(op.pages):
            page = await self._ask(asked)
            cursor = page.cursor if isinstance(page, Page) else None
            self._listing = asked = (
                None
                if cursor is None
                else calls.Find(
                    filter=asked.filter, order=asked.order, cursor=cursor, limit=asked.limit
                )
            )
            if asked is None:
                break

    async def put(self, op: ops.Put) -> None:
        """Write a control document, and read it."""
        version = self._versions.get(op.name, 0) + (7 if op.stale else 0)
        data = None if op.text is None else op.text.encode()
        answer = await self._ask(calls.PutDocument(name=op.name, data=data, version=version))
        self._versions[op.name] = answer.version if isinstance(answer, Document) else 0
        await self._ask(calls.ReadDocument(op.name))

    async def follow(self, limit: int) -> None:
        """Read the event log from where it was read last."""
        answer = await self._ask(calls.ReadEvents(after=self._events, limit=limit))
        if isinstance(answer, Events):
            self._events = answer.cursor

    def note(self, records: Sequence[Record]) -> None:
        """Remember records as they were seen."""
        for record in records:
            self._seen.setdefault(record.ref, []).append(record)

    def note_results(self, answer: object) -> None:
        """Remember the records that stood against what was asked."""
        for result in getattr(answer, "results", ()):
            if isinstance(result, Conflict | Duplicate) and result.record is not None:
                self.note([result.record])
