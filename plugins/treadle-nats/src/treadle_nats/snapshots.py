"""Snapshots: the tables as they were after some message, so that the log before it can be cut.

A snapshot lies in pieces on a stream of its own; a last message, compared and set, says which pieces
count. Only then the log is cut, and not up to the snapshot itself: readers that are a little behind need
not begin anew. Who makes one says so before, so that not all do. Who dies half-way leaves pieces that the
next one removes. Messages of others on that stream are passed over.
"""

from __future__ import annotations

import asyncio
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from typing import BinaryIO, Final

import msgspec
from msgspec import Struct

from treadle.errors import BrokerUnavailable
from treadle_nats import private
from treadle_nats.copying import Copying
from treadle_nats.feed import Feed
from treadle_nats.link import Link, Refusal, checked
from treadle_nats.log import Log
from treadle_nats.replica import Replica
from treadle_nats.streams import Life, cut, explained, ready_shelf, stored_last

_AGAIN_S: Final = 0.2
_TRIES: Final = 10
_PIECE: Final = 256 * 1024
_PUT_S: Final = 5.0
_TURN_MS: Final = 30_000
"""Who said longer ago that they make a snapshot has died over it, or needs help."""
_WRONG_LAST: Final = frozenset({10071, 10164})


class Manifest(Struct, frozen=True, kw_only=True):
    """Which snapshot counts."""

    id: str
    seq: int
    """The last message of the log that is in it."""
    first: int
    """The number of its first piece."""
    pieces: int
    size: int
    crc: int


async def begin(link: Link, life: Life) -> tuple[Replica, Manifest | None]:
    """Return tables to begin with, and the snapshot that they are of.

    Raises:
        BrokerUnavailable: if the server does not answer, or no snapshot can be read whole.
    """
    for _ in range(_TRIES):
        manifest, _ = await latest(link, life)
        if manifest is None:
            return Replica(), None
        replica = await _load(link, life, manifest)
        if replica is not None:
            return replica, manifest
        # It was replaced meanwhile, or is not yet copied to the server that answers.
        await asyncio.sleep(_AGAIN_S)
    raise BrokerUnavailable(f"{link.address.shown}: no snapshot of the log can be read")


async def latest(link: Link, life: Life) -> tuple[Manifest | None, int]:
    """Return which snapshot counts, and the number of the last message that says so (0 = none)."""
    subject = f"{life.shelf}.manifest"
    stored = await stored_last(link, link.address.shelf, subject)
    if stored is None:
        return None, 0
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(stored.data, type=Manifest), stored.seq
    found: Manifest | None = None
    async for entry in Feed(link, link.address.shelf).read(1, subject):
        with suppress(msgspec.DecodeError):
            found = msgspec.json.decode(entry.data, type=Manifest)
    return found, stored.seq


async def _load(link: Link, life: Life, manifest: Manifest) -> Replica | None:
    """Make the tables of a snapshot; None if it cannot be read whole."""
    raw, file = private.make()
    crc = count = 0
    with ExitStack() as held:
        held.callback(raw.close)
        held.enter_context(file)
        try:
            subject = f"{life.shelf}.{manifest.id}"
            async for entry in Feed(link, link.address.shelf).read(manifest.first, f"{subject}.>"):
                if count < manifest.pieces and entry.subject == f"{subject}.{count}":
                    file.write(entry.data)
                    crc = zlib.crc32(entry.data, crc)
                    count += 1
            file.flush()
            if count == manifest.pieces and crc == manifest.crc:
                replica = Replica(raw, file)
                held.pop_all()
                return replica
        except OSError as error:
            text = f"cannot store the tables of the log here: {error}"
            raise BrokerUnavailable(text) from error
        except sqlite3.DatabaseError:
            pass
    return None


async def save(link: Link, log: Log, writer: str, kept: int) -> None:
    """Store the tables and cut the log, up to `kept` messages before that.

    The tables are copied while they are read and written. Somebody else may be at it, or be quicker: then
    nothing is done here.
    """
    await ready_shelf(link, log.life)
    manifest, revision = await latest(link, log.life)
    if manifest is not None:
        log.snapshot = manifest.size
        if manifest.seq + kept >= log.applied:
            await cut(link, link.address.stream, manifest.seq - kept)
            return
    try:
        if not await _is_my_turn(link, log):
            return
        made = await _store(link, log, writer)
        expected = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
        await _put(link, f"{log.life.shelf}.manifest", msgspec.json.encode(made), expected)
    except Refusal as refusal:
        if refusal.code in _WRONG_LAST:
            return
        raise explained(refusal, link.address) from refusal
    log.snapshot = made.size
    await cut(link, link.address.shelf, made.first)
    await cut(link, link.address.stream, made.seq - kept)


async def _is_my_turn(link: Link, log: Log) -> bool:
    """Say that a snapshot is made here now, unless somebody else does."""
    subject = f"{log.life.shelf}.turn"
    turn = await stored_last(link, link.address.shelf, subject)
    if turn is not None and log.now() < turn.at + _TURN_MS:
        return False
    last = 0 if turn is None else turn.seq
    await _put(link, subject, b"", {"Nats-Expected-Last-Subject-Sequence": str(last)})
    return True


async def _store(link: Link, log: Log, writer: str) -> Manifest:
    """Put a copy of the tables into the stream of the snapshots."""
    began, spare = log.size, log.most_bytes // 2
    copy, file = private.make()
    with closing(copy), file:
        seq = await Copying(log.replica, lambda: log.size > began + spare).into(copy)
        name = f"{seq}-{writer}"
        first = pieces = size = crc = 0
        for piece in _pieces(file, min(_PIECE, link.most_bytes)):
            stored = await _put(link, f"{log.life.shelf}.{name}.{pieces}", piece)
            first = first or stored
            pieces += 1
            size += len(piece)
            crc = zlib.crc32(piece, crc)
    return Manifest(id=name, seq=seq, first=first, pieces=pieces, size=size, crc=crc)


async def _put(link: Link, subject: str, data: bytes, headers: dict[str, str] | None = None) -> int:
    answer = await link.request(subject, data, headers=headers, seconds=_PUT_S)
    return int(checked(answer.data)["seq"])


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    while piece := file.read(size):
        yield piece
