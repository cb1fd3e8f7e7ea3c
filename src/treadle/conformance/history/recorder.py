"""Writing a history: a layer around any broker that notes every call and its answer."""

# ruff: noqa: D102 - the promise of each method stands once, in `broker/base.py`.

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from treadle.broker.base import Broker
from treadle.broker.values import (
    Applied,
    Claimed,
    Conflict,
    Duplicate,
    Enqueued,
    Filter,
    Lease,
    Note,
    Noted,
    Opened,
    Order,
    Overdue,
    Page,
    Pulse,
    Settled,
    Turned,
)
from treadle.broker.values import Step as NotedStep
from treadle.conformance.history import events as e
from treadle.conformance.history.events import NOTHING, Answer, Call, How, Key, Said, Told, What
from treadle.conformance.layer import Layer
from treadle.domain.job import Job, Record, Ref
from treadle.domain.outcome import CancelRequest, Change, Refused, Removal, Write
from treadle.errors import BrokerUnavailable, SessionEnded, TreadleError, Uncertain

T = TypeVar("T")

_READS = (e.Look, e.Get, e.Find, e.Scan)
_PAGE = 500


class History:
    """Calls in the order in which they began; safe to write from any thread.

    `place` gives the next position. The default counts; processes whose histories shall be merged
    give a clock that they share, `time.monotonic_ns`.
    """

    def __init__(self, place: Callable[[], int] | None = None) -> None:
        self.calls: list[Call] = []
        self._place = place or itertools.count(1).__next__
        self._numbers = itertools.count(1)
        self._clients = itertools.count(1)
        self._runs: dict[tuple[str, str, int], Call] = {}

    def __len__(self) -> int:
        return len(self.calls)

    def new_client(self) -> str:
        """Name one more client."""
        return f"c{next(self._clients)}"

    def begin(self, client: str, what: What) -> Call:
        """Note that a call begins."""
        call = Call(number=next(self._numbers), client=client, begun=self._place(), what=what)
        self.calls.append(call)
        return call

    def ok(self, call: Call, answer: Answer = NOTHING) -> None:
        """Note that a call was answered."""
        call.answer, call.how, call.ended = answer, How.OK, self._place()

    def failed(self, call: Call, error: BaseException) -> None:
        """Note that a call was not answered, and whether it may have had its effect."""
        call.error = f"{type(error).__name__}: {error}"
        call.how, call.ended = _how(call.what, error), self._place()

    def note_run(self, job: Ref, fence: int, *, begins: bool) -> None:
        """Note that the handler of an attempt starts or ends; `fence` is that of its claim."""
        key = (job.queue, job.id, fence)
        if begins:
            self._runs[key] = self.begin("handler", e.Run(job.queue, job.id, fence))
        elif key in self._runs:
            self.ok(self._runs.pop(key))

    def dump(self) -> bytes:
        """Write it down, a call a line."""
        # JSON knows no infinity: of a call that never ended, the end is left out.
        encode = msgspec.json.Encoder().encode
        return b"".join(encode(call) + b"\n" for call in self.calls)

    @classmethod
    def load(cls, *logs: bytes) -> History:
        """Read what `dump` wrote; several logs are merged by position, their clients renamed apart."""
        history = cls()
        decode = msgspec.json.Decoder(Call).decode
        for number, log in enumerate(logs, start=1):
            for line in log.splitlines():
                call = decode(line)
                if len(logs) > 1:
                    call.client = f"p{number}.{call.client}"
                history.calls.append(call)
        history.calls.sort(key=lambda call: call.begun)
        for number, call in enumerate(history.calls, start=1):
            call.number = number
        return history


def _how(what: What, error: BaseException) -> How:
    """Tell whether a call that raised may have had its effect."""
    match what:
        case e.Enqueue():
            sure = isinstance(error, TreadleError) and not isinstance(error, Uncertain)
        case e.Turn():
            sure = False  # also where the session has ended: the writes were applied
        case e.Claim() | e.Beat() | e.Jot():
            sure = isinstance(error, SessionEnded)
        case _:
            refused = isinstance(error, TreadleError) and not isinstance(error, BrokerUnavailable)
            sure = isinstance(what, _READS) or refused
    return How.FAIL if sure else How.UNKNOWN


class Recorder(Layer):
    """Notes each call to a broker in a history, and changes nothing.

    What a caller was told is noted, so it stands outside of whatever loses requests and replies.
    """

    def __init__(self, inner: Broker, history: History | None = None) -> None:
        super().__init__(inner)
        self.history = History() if history is None else history
        self.client = self.history.new_client()

    def another(self) -> Recorder:
        """Make an unconnected broker on the same store, that writes the same history."""
        return Recorder(self.inner.another(), self.history)

    def note_run(self, job: Ref, fence: int, *, begins: bool) -> None:
        """Note that the handler of an attempt starts or ends."""
        self.history.note_run(job, fence, begins=begins)

    async def carry(self, call: str, run: Callable[[], Awaitable[T]]) -> T:  # noqa: ARG002
        """Let a call pass that no law asks about."""
        return await run()

    async def _note_call(
        self, what: What, run: Callable[[], Awaitable[T]], read: Callable[[T], Answer]
    ) -> T:
        call = self.history.begin(self.client, what)
        try:
            answer = await run()
        except BaseException as error:
            self.history.failed(call, error)
            raise
        self.history.ok(call, read(answer))
        return answer

    async def open(self, name: str, lease_ms: int, info: bytes) -> Opened:
        return await self._note_call(
            e.Open(name, lease_ms),
            lambda: self.inner.open(name, lease_ms, info),
            lambda got: Answer(now=got.now, session=got.session, records=e.seen_all(got.inherited)),
        )

    async def close(self, session: str) -> None:
        await self._note_call(e.Close(session), lambda: self.inner.close(session), _silent)

    async def enqueue(self, jobs: Sequence[Job]) -> Enqueued:
        asked = tuple(e.sent(job) for job in jobs)
        return await self._note_call(
            e.Enqueue(asked),
            lambda: self.inner.enqueue(jobs),
            lambda got: Answer(
                now=got.now,
                told=tuple(
                    _told(job.key, one) for job, one in zip(asked, got.results, strict=False)
                ),
            ),
        )

    async def claim(
        self, session: str, queues: Sequence[str], limit: int, wait_ms: int = 0
    ) -> Claimed:
        return await self._note_call(
            e.Claim(session, tuple(queues)),
            lambda: self.inner.claim(session, queues, limit, wait_ms),
            lambda got: Answer(now=got.now, records=e.seen_all(got.records, whole=True)),
        )

    async def apply(self, writes: Sequence[Write]) -> Settled:
        asked = tuple(e.put(write) for write in writes)
        return await self._note_call(
            e.Apply(asked),
            lambda: self.inner.apply(writes),
            lambda got: Answer(now=got.now, told=_settled(writes, got.results)),
        )

    async def turn(
        self, session: str, writes: Sequence[Write], queues: Sequence[str], limit: int
    ) -> Turned:
        asked = tuple(e.put(write) for write in writes)
        return await self._note_call(
            e.Turn(session, asked, tuple(queues)),
            lambda: self.inner.turn(session, writes, queues, limit),
            lambda got: Answer(
                now=got.now,
                told=_settled(writes, got.results),
                records=e.seen_all(got.records, whole=True),
            ),
        )

    async def heartbeat(self, session: str, held: Sequence[Lease]) -> Pulse:
        return await self._note_call(
            e.Beat(session, _leases(held)),
            lambda: self.inner.heartbeat(session, held),
            lambda got: Answer(
                now=got.now, lost=_leases(got.lost), records=e.seen_all(got.orphans)
            ),
        )

    async def note(self, session: str, items: Sequence[Note]) -> Sequence[Noted | Conflict]:
        return await self._note_call(
            e.Jot(session, tuple(_step(item) for item in items if isinstance(item, NotedStep))),
            lambda: self.inner.note(session, items),
            lambda got: Answer(steps=_existing(items, got)),
        )

    async def overdue(self, limit: int) -> Overdue:
        return await self._note_call(
            e.Look(),
            lambda: self.inner.overdue(limit),
            lambda got: Answer(now=got.now, records=e.seen_all(got.records)),
        )

    async def purge(self, limit: int) -> int:
        return await self._note_call(e.Purge(), lambda: self.inner.purge(limit), _silent)

    async def get(self, refs: Sequence[Ref]) -> Sequence[Record | None]:
        return await self._note_call(
            e.Get(tuple((ref.queue, ref.id) for ref in refs)),
            lambda: self.inner.get(refs),
            lambda got: Answer(got=_got(got)),
        )

    async def find(
        self,
        filter: Filter,
        *,
        order: Order = Order.NEWEST,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        return await self._note_call(
            e.Find(),
            lambda: self.inner.find(filter, order=order, cursor=cursor, limit=limit),
            lambda got: Answer(now=got.now, records=e.seen_all(got.records)),
        )

    async def pause(self, queue: str, paused: bool) -> None:
        await self._note_call(
            e.Pause(queue, paused), lambda: self.inner.pause(queue, paused), _silent
        )

    async def set_limit(self, key: str, running: int | None) -> None:
        await self._note_call(
            e.Limit(key, running), lambda: self.inner.set_limit(key, running), _silent
        )

    async def scan(self) -> None:
        """Read everything that the store holds; to be called at the end, when nothing else happens."""
        await self._note_call(e.Scan(), lambda: _scan(self.inner, _sent_keys(self.history)), _same)


async def _scan(broker: Broker, keys: Iterable[Key]) -> Answer:
    found: dict[Key, e.Seen] = {}
    cursor: str | None = None
    while True:
        page = await broker.find(Filter(), order=Order.OLDEST, cursor=cursor, limit=_PAGE)
        found.update({one.key: one for one in e.seen_all(page.records)})
        cursor = page.cursor
        if cursor is None:
            break
    missing = [Ref(*key) for key in keys if key not in found]
    for start in range(0, len(missing), _PAGE):
        for record in await broker.get(missing[start : start + _PAGE]):
            # What `find` leaves out and `get` shows must be the memory of a purged job.
            if record is not None and record.forgotten:
                one = e.seen(record)
                found[one.key] = one
    stats = await broker.stats()
    counts: dict[str, tuple[int, ...]] = {
        q.queue: (q.blocked, q.waiting, q.running, q.succeeded, q.dead, q.cancelled)
        for q in stats.queues
    }
    return Answer(now=stats.now, records=tuple(found.values()), counts=counts)


def _sent_keys(history: History) -> list[Key]:
    keys: dict[Key, None] = {}
    for call in history.calls:
        match call.what:
            case e.Enqueue(jobs=jobs):
                keys.update(dict.fromkeys(job.key for job in jobs))
            case e.Apply(writes=writes) | e.Turn(writes=writes):
                keys.update((job.key, None) for write in writes for job in write.follow_ups)
            case _:
                continue
    return list(keys)


def _silent(_: object) -> Answer:
    return NOTHING


def _same(answer: Answer) -> Answer:
    return answer


def _told(key: Key, result: Applied | Duplicate | Refused) -> Told:
    match result:
        case Applied(fence=fence):
            return Told(fence=fence)
        case Duplicate(record=record):
            one = e.seen(record, whole=True)
            return Told(said=Said.KNOWN if one.key == key else Said.HELD, seen=one)
        case Refused():
            return Told(said=Said.REFUSED)


def _settled(
    writes: Sequence[Write], results: Sequence[Applied | Conflict | Duplicate]
) -> tuple[Told, ...]:
    return tuple(_wrote(write, result) for write, result in zip(writes, results, strict=False))


def _wrote(write: Write, result: Applied | Conflict | Duplicate) -> Told:
    match result:
        case Applied(fence=fence):
            return Told(fence=fence)
        case Conflict(record=record):
            said = Said.OWN if _may_be_own(write, record) else Said.CONFLICT
            return Told(said=said, seen=None if record is None else e.seen(record))
        case Duplicate(record=record):
            return Told(said=Said.HELD, seen=e.seen(record))


def _may_be_own(write: Write, record: Record | None) -> bool:
    """Tell whether a record looks as if the write that it refused had been accepted before."""
    if record is None:
        return False
    match write:
        case Change(history=row):
            if record.forgotten or record.head.fence <= write.fence:
                return False
            rows = record.history
            return row is None or any(r.fence == row.fence and r.event == row.event for r in rows)
        case CancelRequest():
            return record.head.fence == write.fence and record.head.cancel
        case Removal():
            return record.forgotten and record.head.fence == write.fence


def _leases(leases: Sequence[Lease]) -> tuple[tuple[str, str, int], ...]:
    return tuple((lease.queue, lease.id, lease.fence) for lease in leases)


def _got(records: Sequence[Record | None]) -> tuple[e.Seen | None, ...]:
    return tuple(None if one is None else e.seen(one, whole=True) for one in records)


def _step(item: NotedStep) -> e.Step:
    lease = item.lease
    return e.Step(
        queue=lease.queue,
        id=lease.id,
        fence=lease.fence,
        name=item.name,
        data=e.checksum(item.data),
    )


def _existing(items: Sequence[Note], got: Sequence[Noted | Conflict]) -> tuple[int | None, ...]:
    """Return for each step what had been written first; -1 if it was refused."""
    answers: list[int | None] = []
    for item, one in zip(items, got, strict=False):
        if isinstance(item, NotedStep):
            if isinstance(one, Conflict):
                answers.append(-1)
            else:
                answers.append(None if one.existing is None else e.checksum(one.existing))
    return tuple(answers)
