"""The two streams of a namespace: the log, and the snapshots that let it be cut.

The log is one subject; each life of a namespace has one of its own, so that whatever was meant for a life
that was erased finds nobody. Copies of new messages are published beside it for whoever reads
along, with their number and time.
"""

from __future__ import annotations

import secrets
from base64 import b64decode
from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from treadle.errors import BrokerRefused, BrokerUnavailable
from treadle_nats.address import Address
from treadle_nats.link import Link, Refusal

NO_STREAM: Final = 10059
_NO_MESSAGE: Final = 10037
_IN_USE: Final = 10058
_NO_JETSTREAM: Final = frozenset({503, 10039, 10076})
_NO_ROOM: Final = frozenset({10023, 10028, 10047, 10077, 10122})
_REPEATS_NS: Final = 120_000_000_000
"""For so long the server knows a message that is sent again."""


class Life(Struct, frozen=True, kw_only=True):
    """One life of a namespace: from its creation until it is erased."""

    log: str
    """The subject of the log."""
    live: str
    """The subject of the copies."""
    shelf: str
    """What the subjects of the snapshots begin with."""


class Standing(Struct, frozen=True, kw_only=True):
    """How the log stands, as the server says."""

    life: Life
    first: int
    last: int
    size: int
    now: int
    client_time: bool
    max_bytes: int
    config: dict[str, Any]


def is_full(refusal: Refusal) -> bool:
    """Tell whether there was no room left."""
    return refusal.code in _NO_ROOM


def milliseconds(text: str) -> int:
    """Turn a time of the server into ms since the epoch."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
    return seconds * 1_000 + int((fraction + "000")[:3])


async def inspect(link: Link) -> Standing | None:
    """Return how the log stands; None if there is none."""
    address = link.address
    try:
        answer = await link.api(f"STREAM.INFO.{address.stream}")
    except Refusal as refusal:
        if refusal.code == NO_STREAM:
            return None
        raise explained(refusal, address) from refusal
    return _standing(answer, address)


class Stored(Struct, frozen=True):
    """One message, as the server that leads its stream has it."""

    seq: int
    at: int
    data: bytes


async def stored(link: Link, seq: int) -> Stored | None:
    """Return a message of the log; None if it is not there."""
    return await _stored(link, link.address.stream, {"seq": seq})


async def stored_last(link: Link, stream: str, subject: str) -> Stored | None:
    """Return the last message of a subject; None if there is none."""
    return await _stored(link, stream, {"last_by_subj": subject})


async def _stored(link: Link, stream: str, which: dict[str, object]) -> Stored | None:
    try:
        answer = await link.api(f"STREAM.MSG.GET.{stream}", which)
    except Refusal as refusal:
        if refusal.code in {NO_STREAM, _NO_MESSAGE}:
            return None
        raise explained(refusal, link.address) from refusal
    found = answer["message"]
    return Stored(found["seq"], milliseconds(found["time"]), b64decode(found.get("data", "")))


async def cut(link: Link, stream: str, first: int) -> None:
    """Drop the messages before number `first`; a log that ends before it goes on there."""
    if first <= 1:
        return
    try:
        await link.api(f"STREAM.PURGE.{stream}", {"seq": first})
    except Refusal as refusal:
        raise explained(refusal, link.address) from refusal


async def ready(link: Link) -> Standing:
    """Return how the log stands; create it if it is missing.

    Raises:
        BrokerRefused: if a stream of its name is none of ours, or there can be none.
        BrokerUnavailable: if the server does not answer.
    """
    for _ in range(3):
        standing = await inspect(link) or await _create(link)
        if standing is not None:
            return standing
    raise BrokerUnavailable(
        f"{link.address.shown}: the stream {link.address.stream} comes and goes"
    )


async def _create(link: Link) -> Standing | None:
    address = link.address
    life = secrets.token_hex(6)
    log = f"treadle.{address.namespace}.{life}.log"
    config = {
        "name": address.stream,
        "subjects": [log],
        "retention": "limits",
        "storage": address.storage,
        "num_replicas": address.replicas,
        "discard": "new",
        "max_bytes": address.max_bytes,
        "duplicate_window": _REPEATS_NS,
        "allow_direct": True,
        "republish": {"src": log, "dest": f"treadle-live.{address.namespace}.{life}"},
        "metadata": {"treadle": "1", "time": "client" if address.client_time else "server"},
    }
    try:
        return _standing(await link.api(f"STREAM.CREATE.{address.stream}", config), address)
    except Refusal as refusal:
        if refusal.code == _IN_USE:
            return None
        raise explained(refusal, address) from refusal


async def ready_shelf(link: Link, life: Life) -> None:
    """Create the stream of the snapshots if it is missing, or if it is of an earlier life."""
    address = link.address
    config = {
        "name": address.shelf,
        "subjects": [f"{life.shelf}.>"],
        "retention": "limits",
        "storage": address.storage,
        "num_replicas": address.replicas,
        "discard": "new",
        "allow_direct": True,
        "metadata": {"treadle": "1"},
    }
    try:
        try:
            await link.api(f"STREAM.CREATE.{address.shelf}", config)
        except Refusal as refusal:
            if refusal.code != _IN_USE:
                raise
            await link.api(f"STREAM.DELETE.{address.shelf}")
            await link.api(f"STREAM.CREATE.{address.shelf}", config)
    except Refusal as refusal:
        raise explained(refusal, address) from refusal


async def delete(link: Link) -> None:
    """Delete both streams; those that are not there are no mistake."""
    for name in (link.address.stream, link.address.shelf):
        try:
            await link.api(f"STREAM.DELETE.{name}")
        except Refusal as refusal:
            if refusal.code != NO_STREAM:
                raise explained(refusal, link.address) from refusal


def _standing(answer: dict[str, Any], address: Address) -> Standing:
    config, state = answer["config"], answer["state"]
    metadata: dict[str, str] = config.get("metadata") or {}
    if "treadle" not in metadata or not config.get("republish"):
        raise BrokerRefused(
            f"{address.shown}: the stream {address.stream} is none of treadle's: choose another namespace"
        )
    if metadata["treadle"] != "1":
        raise BrokerRefused(
            f"{address.shown}: written by a newer version of treadle-nats. Upgrade it"
        )
    log = config["subjects"][0]
    return Standing(
        life=Life(
            log=log,
            live=config["republish"]["dest"],
            shelf=f"{log.removesuffix('.log')}.shelf",
        ),
        first=state["first_seq"],
        last=state["last_seq"],
        size=state["bytes"],
        now=milliseconds(answer["ts"]),
        client_time=metadata.get("time") == "client",
        max_bytes=config.get("max_bytes", -1),
        config=config,
    )


def explained(refusal: Refusal, address: Address) -> BrokerRefused | BrokerUnavailable:
    """Say what an answer of JetStream means for the caller."""
    if refusal.code in _NO_JETSTREAM:
        return BrokerUnavailable(
            f"{address.shown}: JetStream does not answer. Is it switched on for this account, and"
            " does the cluster have a leader?"
        )
    if is_full(refusal):
        return BrokerUnavailable(f"{address.shown}: no space left: {refusal.description}")
    return BrokerRefused(f"{address.shown}: JetStream refuses: {refusal}")
