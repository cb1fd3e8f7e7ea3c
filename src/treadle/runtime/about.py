"""What a worker says about itself when it opens a session, and how others read it.

Written once for each session and kept by the broker beside its lease: who runs where, and what can be
enqueued to it. It is read whenever sessions are listed, so it is bounded: schemas are left out first, the
largest ones and those of the last names; then handlers, and their number is still told.
"""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Raw, Struct

from treadle.runtime.handlers import AnyHandler

OFFERS_BYTES: Final = 32 * 1024
SCHEMA_BYTES: Final = 8 * 1024
_LONGEST_SUMMARY: Final = 200
_NO_SCHEMA: Final = Raw(b"null")


class Offer(Struct, frozen=True, kw_only=True):
    """A handler of a worker, as others see it."""

    type: str
    queue: str
    summary: str = ""
    schema: Raw = _NO_SCHEMA
    """The JSON Schema of its payload; null if there is none, or it would take too much room."""

    @property
    def has_schema(self) -> bool:
        """Tell whether there is one."""
        return self.schema != _NO_SCHEMA


class _Said(Struct, frozen=True):
    offers: tuple[Offer, ...] = ()


def about(handlers: Mapping[str, AnyHandler], *, concurrency: int, queues: Iterable[str]) -> bytes:
    """Return what a worker says about itself, as a JSON object."""
    said = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "python": platform.python_version(),
        "concurrency": concurrency,
        "queues": list(queues),
        "handlers": len(handlers),
        "offers": _bounded([offer(handlers[name]) for name in sorted(handlers)]),
    }
    return msgspec.json.encode(said)


def offer(handler: AnyHandler) -> Offer:
    """Return how a handler is offered."""
    return Offer(
        type=handler.name,
        queue=handler.queue,
        summary=handler.summary[:_LONGEST_SUMMARY],
        schema=Raw(msgspec.json.encode(handler.schema())),
    )


def offers_of(info: bytes) -> tuple[Offer, ...]:
    """Return the handlers of a worker; none if it does not tell, or nobody can read it."""
    try:
        return msgspec.json.decode(info, type=_Said).offers
    except msgspec.DecodeError:
        return ()


def _bounded(offers: Sequence[Offer]) -> list[Offer]:
    """Return as many of the offers as fit, with as many schemas as fit beside them."""
    plain = [msgspec.structs.replace(one, schema=_NO_SCHEMA) for one in offers]
    room = OFFERS_BYTES
    kept: list[Offer] = []
    for one in plain:
        room -= len(msgspec.json.encode(one)) + 1
        if room < 0:
            break
        kept.append(one)
    for place, one in enumerate(offers[: len(kept)]):
        size = len(bytes(one.schema))
        if one.has_schema and size <= min(SCHEMA_BYTES, room):
            room -= size
            kept[place] = one
    return kept
