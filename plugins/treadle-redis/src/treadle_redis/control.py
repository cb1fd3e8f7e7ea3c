"""Pauses, limits, documents, sessions and the event log: what people steer and watch."""

from __future__ import annotations

import asyncio
from typing import Final

from treadle.broker.values import Document, Events, LogEvent, SessionInfo
from treadle.domain.limits import EVENTS_KEPT
from treadle.domain.state import State
from treadle.errors import ConfigurationError, TooLarge
from treadle_redis import scripts
from treadle_redis.desk import Desk
from treadle_redis.foreign import reads
from treadle_redis.ids import unpacked
from treadle_redis.wake import Bell
from treadle_redis.wire import text_bytes

DOCUMENT_BYTES: Final = 64 * 1024
_GONE: Final = 255


async def set_limit(desk: Desk, action: str, name: str, number: int | None) -> None:
    """Set or lift a limit of a concurrency key or of a queue."""
    limit = "" if number is None else number
    await desk.links.run(scripts.CONTROL, action, text_bytes(name), limit, again=True)


@reads("limits")
async def limits(desk: Desk) -> tuple[tuple[str, str, int], ...]:
    """Return every limit that is set."""
    flat = await desk.links.run(scripts.LOOK, "limits", again=True)
    rows = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    found = [(k.decode(), name.decode("utf-8", "surrogatepass"), n) for k, name, n in rows]
    return tuple(sorted(found))


@reads("documents")
async def document(desk: Desk, name: str) -> Document | None:
    """Return the control document of that name."""
    flat = await desk.links.run(scripts.LOOK, "document", text_bytes(name), again=True)
    return _documents(flat)[0] if flat else None


@reads("documents")
async def documents(desk: Desk, prefix: str) -> list[Document]:
    """Return the control documents whose name begins with `prefix`, by name."""
    every = _documents(await desk.links.run(scripts.LOOK, "documents", again=True))
    found = [document for document in every if document.name.startswith(prefix)]
    return sorted(found, key=lambda document: document.name)


async def put_document(desk: Desk, name: str, data: bytes | None, version: int) -> Document | None:
    """Write or remove a document if its version is still `version`; return what stands.

    Raises:
        TooLarge: if it has more than 64 KiB.
    """
    if data is not None and len(data) > DOCUMENT_BYTES:
        raise TooLarge(f"document {name!r} has {len(data)} bytes, at most {DOCUMENT_BYTES}")
    action = "remove" if data is None else "put"
    standing = await desk.links.run(
        scripts.CONTROL, "document", text_bytes(name), version, action, data or b""
    )
    return Document(name=name, version=standing[0], data=standing[1]) if standing else None


def _documents(flat: list[bytes]) -> list[Document]:
    return [
        Document(
            name=name.decode("utf-8", "surrogatepass"),
            version=int.from_bytes(value[:8], "little"),
            data=value[8:],
        )
        for name, value in zip(flat[::2], flat[1::2], strict=True)
    ]


@reads("sessions")
async def sessions(desk: Desk) -> list[SessionInfo]:
    """Return the sessions that have not ended, the oldest first."""
    rows = await desk.links.run(scripts.LOOK, "sessions", again=True)
    return [
        SessionInfo(
            session=session.decode("utf-8", "surrogatepass"),
            name=name.decode("utf-8", "surrogatepass"),
            lease_ms=lease,
            expires=expires,
            opened=opened,
            running=running,
            info=info,
        )
        for session, lease, expires, opened, name, info, running in rows
    ]


async def events(desk: Desk, bell: Bell, after: str | None, limit: int, wait_ms: int) -> Events:
    """Return up to `limit` entries after a cursor; None gives the cursor of now.

    Raises:
        ConfigurationError: if this is no cursor of an event log.
    """
    if after is not None and not (after.isascii() and after.isdecimal() and len(after) <= 18):
        raise ConfigurationError(f"{after!r} is no cursor of the event log")
    loop = asyncio.get_running_loop()
    until = loop.time() + wait_ms / 1_000
    while True:
        found = await _events(desk, after, limit)
        left = until - loop.time()
        if after is None or found.entries or left <= 0:
            return found
        await bell.hear(int(found.cursor), left)


@reads("events")
async def _events(desk: Desk, after: str | None, limit: int) -> Events:
    most = min(max(limit, 1), EVENTS_KEPT)
    reply = await desk.links.run(scripts.LOOK, "events", after or "", most, again=True)
    _, start, entries = reply
    if after is None:
        return Events(cursor=str(start))
    found = tuple(_event(start + number, data) for number, data in enumerate(entries, 1))
    gap = start != int(after)
    return Events(cursor=str(start + len(found)), entries=found, gap=gap)


def _event(number: int, data: bytes) -> LogEvent:
    at = int.from_bytes(data[:8], "little", signed=True)
    state, length, queue = data[8], data[9], int.from_bytes(data[10:12], "little")
    queue_at = 12 + length
    return LogEvent(
        cursor=str(number),
        at=at,
        event=data[12:queue_at].decode(),
        queue=data[queue_at : queue_at + queue].decode(),
        id=unpacked(data[queue_at + queue :]),
        state="" if state == _GONE else State(state).name.lower(),
    )
