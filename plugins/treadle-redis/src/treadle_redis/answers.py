"""What the scripts answer, in the words of the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from treadle.broker.values import Applied, Conflict, Duplicate, Noted
from treadle.domain.job import Job, Record
from treadle.domain.outcome import RefusalCode, Refused
from treadle.errors import SessionEnded
from treadle_redis.ids import unpacked
from treadle_redis.records import Reader, Show

_LIVES, _UNKNOWN, _TAKEN, _CLOSED = range(4)
_FIRST: Final = Applied(fence=1)


def stored(
    reader: Reader, job: Job, reply: int | list[Any], most: int
) -> Applied | Duplicate | Refused:
    """Say what became of a job that should be stored."""
    if isinstance(reply, int):
        return _FIRST if reply == 1 else Applied(fence=reply)
    kind, *rest = reply
    if kind == b"duplicate":
        return Duplicate(record=_known(reader, rest[0]))
    if kind == b"large":
        return Refused(
            code=RefusalCode.TOO_LARGE,
            detail=f"job {job.id}: its payload has {len(job.payload)} bytes, at most {most} fit",
        )
    if kind == b"parent":
        return Refused(
            code=RefusalCode.UNKNOWN_PARENT,
            detail=f"job {job.id} shall run after {unpacked(rest[1])} of queue {rest[0].decode()},"
            " which is unknown",
        )
    return Refused(
        code=RefusalCode.QUEUE_FULL,
        detail=f"job {job.id}: {rest[0]} jobs wait in queue {job.queue}, its limit is {rest[1]}",
    )


def settled(reader: Reader, replies: list[Any]) -> list[Applied | Conflict | Duplicate]:
    """Say what became of each write."""
    return [_settled(reader, reply) for reply in replies]


def _settled(reader: Reader, reply: int | list[Any]) -> Applied | Conflict | Duplicate:
    if isinstance(reply, int):
        return Applied(fence=abs(reply), children=reply < 0)
    kind, known = reply
    if kind == b"duplicate":
        return Duplicate(record=_known(reader, known))
    return Conflict(record=reader.standing(known))


def noted(reader: Reader, replies: list[Any]) -> list[Noted | Conflict]:
    """Say what became of each note."""
    return [_noted(reader, reply) for reply in replies]


def _noted(reader: Reader, reply: int | list[Any]) -> Noted | Conflict:
    if isinstance(reply, int):
        return Noted()
    kind, known = reply
    if kind == b"existing":
        return Noted(existing=known)
    return Conflict(record=reader.standing(known))


def undecided(reader: Reader, found: Sequence[tuple[bytes, bytes, bytes]]) -> tuple[Record, ...]:
    """Return records without payload, with what is needed to decide about them."""
    return tuple(reader.record(*row, Show.UNDECIDED) for row in found)


def insist_on_life(session: str, lives: int) -> None:
    """Let nobody claim or renew whose session has ended.

    Raises:
        SessionEnded: saying how.
    """
    if lives == _LIVES:
        return
    if lives == _UNKNOWN:
        raise SessionEnded(f"session {session!r} is unknown here: open a new one")
    if lives == _TAKEN:
        raise SessionEnded(
            f"session {session!r} has ended: another process opened one under its name", taken=True
        )
    if lives == _CLOSED:
        raise SessionEnded(f"session {session!r} was closed: open a new one")
    raise SessionEnded(f"the lease of session {session!r} is over: renew it, then claim")


def _known(reader: Reader, reply: list[Any]) -> Record:
    record = reader.standing(reply)
    if record is None:
        raise LookupError("the script names a holder that it does not show")
    return record
