"""Each operation of the protocol as a value: what was asked, ready to be asked again."""

from __future__ import annotations

from collections.abc import Awaitable

from msgspec import Struct

from treadle.broker.base import Broker
from treadle.broker.values import Filter, Lease, Note, Order
from treadle.domain.job import Job, Ref
from treadle.domain.outcome import Write


class Open(Struct, frozen=True, kw_only=True):
    """`Broker.open`."""

    name: str
    lease_ms: int
    info: bytes = b"{}"


class Close(Struct, frozen=True):
    """`Broker.close`."""

    session: str


class Enqueue(Struct, frozen=True):
    """`Broker.enqueue`."""

    jobs: tuple[Job, ...]


class Claim(Struct, frozen=True, kw_only=True):
    """`Broker.claim`, without waiting."""

    session: str
    queues: tuple[str, ...]
    limit: int


class Apply(Struct, frozen=True):
    """`Broker.apply`."""

    writes: tuple[Write, ...]


class Turn(Struct, frozen=True, kw_only=True):
    """`Broker.turn`."""

    session: str
    writes: tuple[Write, ...]
    queues: tuple[str, ...]
    limit: int


class Heartbeat(Struct, frozen=True, kw_only=True):
    """`Broker.heartbeat`."""

    session: str
    held: tuple[Lease, ...]


class TakeNotes(Struct, frozen=True, kw_only=True):
    """`Broker.note`."""

    session: str
    items: tuple[Note, ...]


class AskOverdue(Struct, frozen=True):
    """`Broker.overdue`."""

    limit: int


class Purge(Struct, frozen=True):
    """`Broker.purge`."""

    limit: int


class Get(Struct, frozen=True):
    """`Broker.get`."""

    refs: tuple[Ref, ...]


class ReadNotes(Struct, frozen=True):
    """`Broker.notes`."""

    ref: Ref


class Find(Struct, frozen=True, kw_only=True):
    """`Broker.find`."""

    filter: Filter
    order: Order
    cursor: str | None
    limit: int


class Count(Struct, frozen=True):
    """`Broker.stats`."""


class ListSessions(Struct, frozen=True):
    """`Broker.sessions`."""


class Pause(Struct, frozen=True):
    """`Broker.pause`."""

    queue: str
    paused: bool


class SetLimit(Struct, frozen=True):
    """`Broker.set_limit`."""

    key: str
    running: int | None


class SetQueueLimit(Struct, frozen=True):
    """`Broker.set_queue_limit`."""

    queue: str
    waiting: int | None


class ReadLimits(Struct, frozen=True):
    """`Broker.limits`."""


class ReadDocument(Struct, frozen=True):
    """`Broker.document`."""

    name: str


class ReadDocuments(Struct, frozen=True):
    """`Broker.documents`."""

    prefix: str


class PutDocument(Struct, frozen=True, kw_only=True):
    """`Broker.put_document`."""

    name: str
    data: bytes | None
    version: int


class ReadEvents(Struct, frozen=True, kw_only=True):
    """`Broker.events`, without waiting."""

    after: str | None
    limit: int


Working = Open | Close | Enqueue | Claim | Apply | Turn | Heartbeat | TakeNotes | AskOverdue | Purge
Reading = Get | ReadNotes | Find | Count | ListSessions | ReadLimits | ReadEvents
Steering = Pause | SetLimit | SetQueueLimit | ReadDocument | ReadDocuments | PutDocument
Call = Working | Reading | Steering


async def ask(broker: Broker, call: Call) -> object:
    """Ask a broker, and return what it answers."""
    match call:
        case Enqueue(jobs):
            return await broker.enqueue(jobs)
        case Claim():
            return await broker.claim(call.session, call.queues, call.limit)
        case Apply(writes):
            return await broker.apply(writes)
        case Turn():
            return await broker.turn(call.session, call.writes, call.queues, call.limit)
        case Get(refs):
            return await broker.get(refs)
        case Open():
            return await broker.open(call.name, call.lease_ms, call.info)
        case Close(session):
            return await _silent(broker.close(session))
        case Heartbeat():
            return await broker.heartbeat(call.session, call.held)
        case TakeNotes():
            return await broker.note(call.session, call.items)
        case AskOverdue(limit):
            return await broker.overdue(limit)
        case Purge(limit):
            return await broker.purge(limit)
        case _:
            return await _ask_rarely(broker, call)


async def _ask_rarely(broker: Broker, call: Call) -> object:
    match call:
        case ReadNotes(ref):
            return await broker.notes(ref)
        case Find():
            return await broker.find(
                call.filter, order=call.order, cursor=call.cursor, limit=call.limit
            )
        case Count():
            return await broker.stats()
        case ListSessions():
            return await broker.sessions()
        case Pause():
            return await _silent(broker.pause(call.queue, call.paused))
        case SetLimit():
            return await _silent(broker.set_limit(call.key, call.running))
        case SetQueueLimit():
            return await _silent(broker.set_queue_limit(call.queue, call.waiting))
        case ReadLimits():
            return await broker.limits()
        case ReadDocument(name):
            return await broker.document(name)
        case ReadDocuments(prefix):
            return await broker.documents(prefix)
        case PutDocument():
            return await broker.put_document(call.name, call.data, call.version)
        case ReadEvents():
            return await broker.events(call.after, limit=call.limit)
        case _:
            raise TypeError(f"{type(call).__name__} is no call")


async def _silent(called: Awaitable[object]) -> object:
    return await called
