"""How stored records are read: as much of them as each operation promises, and no more.

The layout is that of `records.lua`. Bytes that are no record are shown as a waiting job with a fault.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from msgspec import structs

from treadle.domain.codec import Codec, decode_history
from treadle.domain.job import Fault, FaultCode, Head, Job, Priority, Record, Ref
from treadle.domain.limits import RAW_BYTES
from treadle.domain.state import State
from treadle_redis.ids import unpacked
from treadle_redis.wire import VERSION, take_apart

_HEAD: Final = Struct("<5BI2q3H2qi")
_REST: Final = Struct("<q17x2H3I")
_LEAST: Final = _HEAD.size + _REST.size
_SELDOM: Final = Struct("<2I5q")
_RESULT: Final = Struct("<i")
_PRIORITY_AT: Final = 3
_RESULT_AT: Final = 47
_NO_SELDOM: Final = (0, 0, 0, 0, 0, 0, 0)
_CANCEL: Final = 1
_RARE: Final = 16
_MARKS: Final = 31
"""The flags that say something to a reader; the next one is a mark of the scripts for themselves."""
_STATES: Final[tuple[State, ...]] = tuple(sorted(State))
_PRIORITIES: Final[tuple[Priority, ...]] = tuple(sorted(Priority))


class Show(Enum):
    """How much of a record is shown."""

    RUNNING = "running"
    """Job and head: what a worker needs."""
    LISTED = "listed"
    """The same without payload."""
    UNDECIDED = "undecided"
    """Without payload, with edges: what is needed to decide."""
    COMPLETE = "complete"


class Reader:
    """Reads the records of one broker."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._last: tuple[bytes, Head] = (b"\0", Head(state=State.WAITING, fence=0, due=0))
        """The last head and its bytes: jobs that one step moved have all of it in common."""

    def standing(self, reply: list[Any]) -> Record | None:
        """Read what is known of a job: its record, what is remembered of it, or nothing."""
        if not reply:
            return None
        if len(reply) == 3:
            return self.record(reply[0], reply[1], reply[2], Show.COMPLETE)
        queue, job_id, _, state, fence, until = reply
        return Record(
            job=Job(id=unpacked(job_id), type="", queue=queue.decode()),
            head=Head(state=_STATES[int(state)], fence=fence, due=until),
            created=0,
            forgotten=True,
        )

    def record(self, queue: bytes, job_id: bytes, data: bytes, show: Show) -> Record:
        """Read one record."""
        begin, head = self._last
        if not data.startswith(begin):
            read = _head(data)
            if read is None:
                return _no_record(queue, job_id, data)
            begin, head = self._last = read
        rest_at = len(begin)
        edges_at = rest_at + _REST.size
        if edges_at > len(data):
            return _no_record(queue, job_id, data)
        created, key, unique, edges, body, payload = _REST.unpack_from(data, rest_at)
        edges_at += key + unique
        body_at = edges_at + edges
        payload_at = body_at + body
        past_at = payload_at + payload
        if past_at > len(data):
            return _no_record(queue, job_id, data)
        job, fault = self._codec.job(
            queue=queue.decode(),
            id=unpacked(job_id),
            priority=_PRIORITIES[data[_PRIORITY_AT]],
            body=data[body_at:payload_at],
            payload=data[payload_at:past_at],
        )
        if show is Show.RUNNING or show is Show.LISTED:
            return Record(job=job, head=head, created=created, fault=fault)
        parents = _refs(data[edges_at:body_at])
        if show is Show.UNDECIDED:
            return Record(job=job, head=head, created=created, edges=parents, fault=fault)
        (result,) = _RESULT.unpack_from(data, _RESULT_AT)
        history_at = past_at + max(result, 0)
        return Record(
            job=job,
            head=head,
            created=created,
            result=data[past_at:history_at] if result >= 0 else None,
            history=tuple(map(decode_history, data[history_at:].splitlines())),
            edges=parents,
            fault=fault,
        )


def _head(data: bytes) -> tuple[bytes, Head] | None:
    """Read the bytes of a head and what they say; None if they are no record's."""
    if len(data) < _LEAST or data[0] != VERSION:
        return None
    fields: tuple[int, ...] = _HEAD.unpack_from(data)
    _, state, flags, priority, _, attempt, claimed, finished = fields[:8]
    session, blocked, reason, fence, due, _ = fields[8:]
    session_at = _HEAD.size + (_SELDOM.size if flags & _RARE else 0)
    end = session_at + session + blocked + reason
    if end > len(data) or state >= len(_STATES) or priority >= len(_PRIORITIES):
        return None
    head = Head(
        state=_STATES[state],
        fence=fence,
        due=due,
        attempt=attempt,
        claimed=claimed,
        finished=finished,
        session=_name(data[session_at : session_at + session]),
    )
    if flags & _MARKS or blocked or reason:
        head = _with_the_rest(head, data, flags, session_at + session, blocked, reason)
    return data[:end], head


def _with_the_rest(
    head: Head, data: bytes, flags: int, blocked_at: int, blocked: int, reason: int
) -> Head:
    """Add to a head what most heads do not have."""
    reason_at = blocked_at + blocked
    deaths, stalls, parked, delay, look, expires, _ = _NO_SELDOM
    if flags & _RARE:
        deaths, stalls, parked, delay, look, expires, _ = _SELDOM.unpack_from(data, _HEAD.size)
    return structs.replace(
        head,
        deaths=deaths,
        stalls=stalls,
        parked=parked,
        delay_ms=delay,
        look_ms=look,
        expires=expires,
        cancel=bool(flags & _CANCEL),
        blocked_on=_text(data[blocked_at:reason_at]),
        reason=_text(data[reason_at : reason_at + reason]),
    )


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode(errors="replace")  # no text of ours, but a text


_name = lru_cache(1_024)(_text)  # the sessions that occur are few


def _refs(data: bytes) -> tuple[Ref, ...]:
    texts = take_apart(data)
    return tuple(
        Ref(queue.decode(), unpacked(job_id))
        for queue, job_id in zip(texts[::2], texts[1::2], strict=True)
    )


def _no_record(queue: bytes, job_id: bytes, data: bytes) -> Record:
    fault = Fault(
        code=FaultCode.UNDECODABLE,
        detail="these bytes are no record of this broker",
        raw=data[:RAW_BYTES],
    )
    return Record(
        job=Job(id=unpacked(job_id), type="", queue=queue.decode()),
        head=Head(state=State.WAITING, fence=0, due=0),
        created=0,
        fault=fault,
    )
