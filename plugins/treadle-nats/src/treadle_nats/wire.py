"""Commands as bytes, and back.

A frame is what one message of the log carries: the version of this format, the version of the tables that the
commands mean, the time of the client where that counts, and the commands. A process that meets a newer
version stops reading instead of guessing: its tables would no longer be those of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from treadle.broker.sqlite.migrate import schema_version
from treadle.broker.values import LogLine, Note, Progress, Step
from treadle.domain.job import NOW, Job
from treadle.domain.outcome import CancelRequest, Change, Removal, Write
from treadle.errors import BrokerRefused
from treadle_nats.commands import (
    Apply,
    Beat,
    Claim,
    Close,
    Command,
    CutLeases,
    Enqueue,
    LimitKey,
    LimitQueue,
    NoteDown,
    Open,
    Pause,
    Purge,
    PutDocument,
    Turn,
)

FORMAT: Final = 1
_encoder: Final = msgspec.msgpack.Encoder()


class Garbage(ValueError):
    """Bytes that are no frame."""


class Frame(Struct, frozen=True):
    """What one message, or several parts of one, carried."""

    commands: Sequence[Command]
    now: int | None = None
    """The client's time; None = the server's counts."""


class _Frame(Struct, frozen=True, array_like=True):
    format: int
    tables: int
    now: int | None
    commands: list[tuple[str, msgspec.Raw]]


class _Jobs(Struct, frozen=True, array_like=True):
    """Jobs as what they share, and what each has of its own."""

    shared: list[Job]
    own: list[tuple[int, str, bytes]]


class _Writes(Struct, frozen=True, array_like=True):
    """Writes by kind; `order` has a letter for each, in the order of the call."""

    order: str
    changes: list[Change]
    cancels: list[CancelRequest]
    removals: list[Removal]


class _Turn(Struct, frozen=True, array_like=True):
    writes: _Writes
    claim: Claim


class _Notes(Struct, frozen=True, array_like=True):
    session: str
    order: str
    steps: list[Step]
    progress: list[Progress]
    lines: list[LogLine]


class Packed(Struct, frozen=True):
    """A command and its bytes."""

    command: Command
    name: str
    data: bytes


def pack(command: Command) -> Packed:
    """Turn a command into bytes.

    Text that is no Unicode (lone surrogates) is written with question marks, as in all stores; the
    command to run is then the one that the others will read.
    """
    name = type(command).__name__
    value = _SHAPES[name][0](command) if name in _SHAPES else command
    try:
        return Packed(command, name, _encoder.encode(value))
    except UnicodeEncodeError:
        plain = msgspec.to_builtins(value, builtin_types=(bytes,))
        data = _encoder.encode(_readable(plain))
        return Packed(_unpack(name, msgspec.Raw(data)), name, data)


def frame(packed: Sequence[Packed], now: int | None) -> bytes:
    """Put packed commands into one frame."""
    commands = [(each.name, msgspec.Raw(each.data)) for each in packed]
    return _encoder.encode(_Frame(FORMAT, schema_version(), now, commands))


def unframe(data: bytes) -> Frame:
    """Read a frame.

    Raises:
        BrokerRefused: if it was written by a newer version, which may mean something else by it.
        Garbage: if it is none.
    """
    try:
        read = _frames.decode(data)
        if read.format > FORMAT or read.tables > schema_version():
            raise _newer_version(read)
        commands = [_unpack(name, raw) for name, raw in read.commands]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, IndexError) as error:
        raise Garbage(str(error)) from error
    return Frame(commands, read.now)


def _newer_version(read: _Frame) -> BrokerRefused:
    return BrokerRefused(
        f"the namespace is written by a newer version of treadle (log format {read.format} with"
        f" tables {read.tables}, this one knows {FORMAT} with {schema_version()}). Upgrade this one"
    )


def _unpack(name: str, raw: msgspec.Raw) -> Command:
    if name in _SHAPES:
        return _SHAPES[name][1](_DECODERS[name].decode(raw))
    return cast("Command", _DECODERS[name].decode(raw))


def _pack_jobs(command: Enqueue) -> _Jobs:
    shared: list[Job] = []
    places: dict[tuple[int, ...], int] = {}
    own: list[tuple[int, str, bytes]] = []
    for job in command.jobs:
        same = (
            *(id(job.type), id(job.queue), id(job.policy), id(job.due), id(job.expires)),
            *(id(job.unique), id(job.key), id(job.after), id(job.meta)),
            *(int(job.priority), job.run_anyway),
        )
        place = places.get(same)
        if place is None:
            place = places[same] = len(shared)
            shared.append(msgspec.structs.replace(job, id="", payload=b""))
        own.append((place, job.id, job.payload))
    return _Jobs(shared, own)


def _unpack_jobs(read: _Jobs) -> Enqueue:
    # Whoever stores them looks for shared objects, and for the one `NOW`.
    shared = [
        msgspec.structs.replace(job, due=NOW) if job.due == NOW else job for job in read.shared
    ]
    jobs: list[Job] = []
    for place, job_id, payload in read.own:
        like = shared[place]
        jobs.append(
            Job(
                id=job_id,
                payload=payload,
                type=like.type,
                queue=like.queue,
                priority=like.priority,
                policy=like.policy,
                due=like.due,
                expires=like.expires,
                unique=like.unique,
                key=like.key,
                after=like.after,
                run_anyway=like.run_anyway,
                meta=like.meta,
            )
        )
    return Enqueue(jobs)


def _pack_writes(writes: Sequence[Write]) -> _Writes:
    letters = {Change: "w", CancelRequest: "c", Removal: "r"}
    return _Writes(
        "".join([letters[type(write)] for write in writes]),
        [write for write in writes if isinstance(write, Change)],
        [write for write in writes if isinstance(write, CancelRequest)],
        [write for write in writes if isinstance(write, Removal)],
    )


def _unpack_writes(read: _Writes) -> Sequence[Write]:
    if not (read.cancels or read.removals):
        return read.changes
    kinds: dict[str, Iterator[Write]] = {
        "w": iter(read.changes),
        "c": iter(read.cancels),
        "r": iter(read.removals),
    }
    return [next(kinds[letter]) for letter in read.order]


def _pack_notes(command: NoteDown) -> _Notes:
    letters = {Step: "s", Progress: "p", LogLine: "l"}
    return _Notes(
        command.session,
        "".join([letters[type(item)] for item in command.items]),
        [item for item in command.items if isinstance(item, Step)],
        [item for item in command.items if isinstance(item, Progress)],
        [item for item in command.items if isinstance(item, LogLine)],
    )


def _unpack_notes(read: _Notes) -> NoteDown:
    kinds: dict[str, Iterator[Note]] = {
        "s": iter(read.steps),
        "p": iter(read.progress),
        "l": iter(read.lines),
    }
    items: list[Note] = [next(kinds[letter]) for letter in read.order]
    return NoteDown(read.session, items)


def _readable(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list | tuple):
        return [_readable(each) for each in cast("Sequence[object]", value)]
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {_readable(key): _readable(each) for key, each in items}
    return value


_SHAPES: Final[Mapping[str, tuple[Callable[[Any], object], Callable[[Any], Command]]]] = {
    "Enqueue": (_pack_jobs, _unpack_jobs),
    "Apply": (
        lambda command: _pack_writes(command.writes),
        lambda read: Apply(_unpack_writes(read)),
    ),
    "Turn": (
        lambda command: _Turn(_pack_writes(command.writes), command.claim),
        lambda read: Turn(_unpack_writes(read.writes), read.claim),
    ),
    "NoteDown": (_pack_notes, _unpack_notes),
}
"""The commands whose bytes have another shape than the command: into it, and back."""

_frames: Final = msgspec.msgpack.Decoder(_Frame)
_DECODERS: Final[Mapping[str, msgspec.msgpack.Decoder[Any]]] = {
    "Enqueue": msgspec.msgpack.Decoder(_Jobs),
    "Apply": msgspec.msgpack.Decoder(_Writes),
    "Turn": msgspec.msgpack.Decoder(_Turn),
    "NoteDown": msgspec.msgpack.Decoder(_Notes),
    **{
        kind.__name__: msgspec.msgpack.Decoder(kind)
        for kind in (
            *(Open, Close, Claim, Beat, CutLeases),
            *(Purge, Pause, LimitKey, LimitQueue, PutDocument),
        )
    },
}
