"""What a worker and the child processes of its handlers say to each other: msgpack in frames.

Nothing is pickled, and nothing that a job holds chooses what is imported: the child is told by its
parent where the handler is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from treadle.broker.values import Lease
from treadle.domain.job import Job
from treadle.domain.outcome import (
    Cancelled,
    Failed,
    Interrupted,
    Lost,
    Outcome,
    Rejected,
    Snoozed,
    Succeeded,
)
from treadle.logs import Style

_LENGTH = struct.Struct("!I")


class Place(Struct, frozen=True, kw_only=True):
    """Where a handler is found: in the registry `app`, or as `qualname` in a module."""

    name: str
    app: str = ""
    module: str = ""
    qualname: str = ""
    script: str = ""
    """The file to run in place of the module `__main__`."""


class Setup(Struct, frozen=True, kw_only=True, tag="setup"):
    """The first frame to a child: how it finds modules, what it may use, and how it writes logs."""

    path: tuple[str, ...]
    backend: str
    memory_mb: int | None = None
    cpu_seconds: int | None = None
    logs: Style | None = None
    """That of the parent; None leaves logging alone, as the parent does."""


class Request(Struct, frozen=True, kw_only=True, tag="request"):
    """Run one attempt."""

    place: Place
    job: Job
    number: int
    lease: Lease
    worker: str


class StepsTold(Struct, frozen=True, tag="steps_told"):
    """The answer to `StepsAsked`, or what went wrong."""

    steps: dict[str, bytes]
    error: str = ""


class StepTold(Struct, frozen=True, tag="step_told"):
    """The answer to `StepMade`, or what went wrong: the lease was lost, or the broker is away."""

    data: bytes
    error: str = ""
    lost: bool = False


class Started(Struct, frozen=True, tag="started"):
    """The request was read: from now on the attempt has begun, and its death is its own."""


class Running(Struct, frozen=True, tag="running"):
    """The handler was found: from now on the attempt's time counts."""


class Progressed(Struct, frozen=True, tag="progressed"):
    """The handler told how far it is."""

    data: bytes


class Logged(Struct, frozen=True, tag="logged"):
    """The handler logged a line."""

    text: str


class StepsAsked(Struct, frozen=True, tag="steps_asked"):
    """The handler wants to know the steps that were stored."""


class StepMade(Struct, frozen=True, tag="step_made"):
    """The handler made a step: store it."""

    name: str
    data: bytes


class Ended(Struct, frozen=True, tag="ended"):
    """The attempt ended: the name of the outcome's class, and the outcome."""

    kind: str
    outcome: bytes


ToChild = Setup | Request | StepsTold | StepTold
FromChild = Started | Running | Progressed | Logged | StepsAsked | StepMade | Ended

_encode = msgspec.msgpack.Encoder().encode
_to_child: msgspec.msgpack.Decoder[ToChild] = msgspec.msgpack.Decoder(ToChild)
_from_child: msgspec.msgpack.Decoder[FromChild] = msgspec.msgpack.Decoder(FromChild)
_OUTCOMES = {
    kind.__name__: msgspec.msgpack.Decoder[Outcome](kind)
    for kind in (Succeeded, Failed, Snoozed, Cancelled, Interrupted, Lost, Rejected)
}


def frame(message: ToChild | FromChild) -> bytes:
    """Return a message with its length before it."""
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body


def ended(outcome: Outcome) -> Ended:
    """Wrap an outcome."""
    return Ended(type(outcome).__name__, _encode(outcome))


def outcome_of(message: Ended) -> Outcome:
    """Unwrap an outcome."""
    return _OUTCOMES[message.kind].decode(message.outcome)


class Frames:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the body of every message that is complete now."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer)
            end = _LENGTH.size + length
            if len(buffer) < end:
                return
            body = bytes(buffer[_LENGTH.size : end])
            del buffer[:end]
            yield body


def read_to_child(body: bytes) -> ToChild:
    """Read what a parent sent."""
    return _to_child.decode(body)


def read_from_child(body: bytes) -> FromChild:
    """Read what a child sent."""
    return _from_child.decode(body)
