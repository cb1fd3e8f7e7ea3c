"""Snapshots: the tables as they were after some message, so that the log before it can be cut.

A snapshot lies in pieces on a stream of its own; a last message, compared and set, says which pieces
count. Only then the log is cut, and not up to the snapshot itself: readers that are a little behind need
not begin anew. Who dies half-way leaves pieces that the next one removes.
"""

from __future__ import annotations

import asyncio
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from treadle.errors import BrokerUnavailable
from treadle_nats.feed import Feed
from treadle_nats.link import Link, Refusal, checked
from treadle_nats.log import Log
from treadle_nats.replica import Replica
from treadle_nats.streams import NO_MESSAGE, NO_STREAM, Life, explained, inspect, ready_shelf

_AGAIN_S: Final = 0.2
_PIECE: Final = 256 * 1024
_WRONG_LAST: Final = frozenset({10071, 10164})


class Manifest(Struct, frozen=True, kw_only=True):
    """Which snapshot counts."""

    id: str
    seq: int
    """The last message of the log that is in it."""
    kept: int
    """The first message that is still in the log."""
    first: int
    """The number of its first piece."""
    pieces: int
    size: int
    crc: int


async def latest(link: Link, life: Life) -> tuple[Manifest | None, int]:
    """Return which snapshot counts, and the number of the message that says so (0 = none)."""
    try:
        answer = await link.api(
            f"STREAM.MSG.GET.{link.address.shelf}", {"last_by_subj": f"{life.shelf}.manifest"}
        )
    except Refusal as refusal:
        if refusal.code in {NO_STREAM, NO_MESSAGE}:
            return None, 0
        raise explained(refusal, link.address) from refusal
    message: dict[str, Any] = answer["message"]
    data = msgspec.json.decode(f'"{message["data"]}"'.encode(), type=bytes)
    return msgspec.json.decode(data, type=Manifest), int(message["seq"])


async def load(link: Link, life: Life, manifest: Manifest) -> Replica | None:
    """Make the tables of a snapshot; None if it was replaced meanwhile.

    Raises:
        BrokerUnavailable: if the server does not answer.
    """
    handle, name = tempfile.mkstemp(prefix="treadle-nats-")
    file = Path(name)
    crc = count = 0
    try:
        with open(handle, "wb") as out:  # noqa: PTH123, ASYNC230 - it is open already, and local
            subject = f"{life.shelf}.{manifest.id}.>"
            async for entry in Feed(link, link.address.shelf).read(manifest.first, subject):
                out.write(entry.data)
                crc = zlib.crc32(entry.data, crc)
                count += 1
        if count != manifest.pieces or crc != manifest.crc:
            return None
        return Replica(file)
    finally:
        file.unlink(missing_ok=True)  # noqa: ASYNC240 - local, and at once


async def save(link: Link, log: Log, writer: str, kept: int) -> None:
    """Store the tables as they are now and cut the log, up to the last `kept` messages.

    Somebody else may have been quicker: then nothing is cut here.
    """
    await ready_shelf(link, log.life)
    manifest, revision = await latest(link, log.life)
    if manifest is not None and manifest.seq + kept >= log.applied:
        log.snapshot, log.since = manifest.size, manifest.seq
        return
    seq, tail = log.applied, log.tail
    name = f"{seq}-{writer}"
    first = pieces = size = crc = 0
    try:
        with tempfile.TemporaryDirectory(prefix="treadle-nats-") as folder:
            file = Path(folder) / "snapshot"
            log.replica.dump(file)
            for piece in _pieces(file, min(_PIECE, link.max_payload - 4_096)):
                stored = await _put(link, f"{log.life.shelf}.{name}.{pieces}", piece)
                first = first or stored
                pieces += 1
                size += len(piece)
                crc = zlib.crc32(piece, crc)
        made = Manifest(
            id=name,
            seq=seq,
            kept=max(seq - kept, 1),
            first=first,
            pieces=pieces,
            size=size,
            crc=crc,
        )
        expected = {"Nats-Expected-Last-Subject-Sequence": str(revision)}
        await _put(link, f"{log.life.shelf}.manifest", msgspec.json.encode(made), expected)
        await link.api(f"STREAM.PURGE.{link.address.shelf}", {"seq": first})
        await link.api(f"STREAM.PURGE.{link.address.stream}", {"seq": made.kept})
    except Refusal as refusal:
        if refusal.code in _WRONG_LAST:
            return
        raise explained(refusal, link.address) from refusal
    log.tail = max(log.tail - tail, 0)
    log.snapshot, log.since = size, seq
    log.size = (await _log_size(link)) or log.size


async def _log_size(link: Link) -> int:
    """Return how many bytes the log has now."""
    standing = await inspect(link)
    return 0 if standing is None else standing.size


async def _put(link: Link, subject: str, data: bytes, headers: dict[str, str] | None = None) -> int:
    answer = await link.request(subject, data, headers=headers, seconds=5)
    return int(checked(answer.data)["seq"])


def _pieces(file: Path, size: int) -> Iterator[bytes]:
    with file.open("rb") as source:
        while piece := source.read(size):
            yield piece


async def begin(link: Link, life: Life) -> tuple[Replica, Manifest | None]:
    """Return tables to begin with, and the snapshot that they are of.

    Raises:
        BrokerUnavailable: if the server does not answer, or no snapshot can be read whole.
    """
    for _ in range(10):
        manifest, _ = await latest(link, life)
        if manifest is None:
            return Replica(), None
        replica = await load(link, life, manifest)
        if replica is not None:
            return replica, manifest
        await asyncio.sleep(
            _AGAIN_S
        )  # replaced meanwhile, or not yet copied to the server that answers
    raise BrokerUnavailable(f"{link.address.shown}: no snapshot of the log can be read")
