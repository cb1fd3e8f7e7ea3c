"""How jobs, writes and notes are sent to the scripts: the layouts that `store.lua` and `apply.lua` read."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct, pack
from typing import Final, assert_never

from treadle.broker.values import Lease, LogLine, Note, Progress, Step
from treadle.domain.codec import Codec, encode_history
from treadle.domain.job import After, At, Due, Job, Keep, Ref
from treadle.domain.outcome import CancelRequest, Change, Removal, Write
from treadle.domain.unique import Scope, holding_states
from treadle_redis.ids import packed
from treadle_redis.link import Argument

_JOB: Final = Struct("<HHBBBBqqq")
_STORED: Final = Struct("<BqHHIII")
_WRITE: Final = Struct("<BHHq")
_CHANGE: Final = Struct("<BHHqBBBIIIqqqqBHIiI")
_LINE: Final = Struct("<qq")
_AFTER, _AT, _KEEP = range(3)
_CHANGED, _CANCELLED, _REMOVED = range(3)
_FRESH, _WITH_EDGES, _WITH_JOB = 1, 2, 4
_TOO_LARGE, _PLAIN = 1, 2
VERSION: Final = 1
"""Of the layout of records."""


def text_bytes(text: str) -> bytes:
    """Return the bytes of any text, also of one that is no valid Unicode."""
    return text.encode("utf-8", "surrogatepass")


def strings(texts: Iterable[bytes]) -> bytes:
    """Put texts together so that they can be taken apart again."""
    return b"".join([pack("<I", len(text)) + text for text in texts])


def take_apart(data: bytes) -> list[bytes]:
    """Undo `strings`."""
    found: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        found.append(data[at + 4 : end])
        at = end
    return found


def named(ref: Ref) -> bytes:
    """Return the identity of a job as one text."""
    return b"%b\0%b" % (ref.queue.encode(), packed(ref.id))


class Wire:
    """Writes what the scripts are given."""

    def __init__(self, codec: Codec, most_bytes: int) -> None:
        self._codec = codec
        self._most_bytes = most_bytes

    def job(self, job: Job) -> bytes:
        """Return a job that shall be stored; a payload that is too large is left out."""
        queue, job_id, key = job.queue.encode(), packed(job.id), text_bytes(job.key)
        is_large = len(job.payload) > self._most_bytes
        payload = b"" if is_large else job.payload
        body = self._codec.encode(job)
        due, due_ms = _due(job.due)
        expiry, expiry_ms = (_KEEP, 0) if job.expires is None else _due(job.expires)
        mask = period = 0
        unique = edges = b""
        if job.unique is not None:
            unique, mask = job.unique.key.encode(), holding_states(job.unique)
            period = job.unique.period_ms if job.unique.scope is Scope.PERIOD else 0
        if job.after:
            edges = _edges(job.after)
        flags = _TOO_LARGE if is_large else 0
        if not (flags or unique or edges or job.expires):
            flags = _PLAIN
        told = _JOB.pack(
            len(queue), len(job_id), due, expiry, flags, job.priority, due_ms, expiry_ms, period
        )
        stored = _STORED.pack(
            mask,
            job.policy.remember_ms,
            len(key),
            len(unique),
            len(edges),
            len(body),
            len(payload),
        )
        return b"".join((told, queue, job_id, stored, key, unique, edges, body, payload))

    def write(self, write: Write) -> bytes:
        """Return a write that shall be applied."""
        queue, job_id = write.queue.encode(), packed(write.id)
        match write:
            case Change():
                return self._change(write, queue, job_id)
            case CancelRequest():
                head = _WRITE.pack(_CANCELLED, len(queue), len(job_id), write.fence)
                return head + queue + job_id
            case Removal():
                head = _WRITE.pack(_REMOVED, len(queue), len(job_id), write.fence)
                return head + queue + job_id + pack("<q", write.remember_ms)
            case _:
                assert_never(write)

    def _change(self, change: Change, queue: bytes, job_id: bytes) -> bytes:
        history = b"" if change.history is None else encode_history(change.history) + b"\n"
        event, reason = change.event.encode(), change.reason and text_bytes(change.reason)
        result, extra = change.result, b""
        flags = _FRESH if change.fresh else 0
        if change.edges is not None or change.job is not None or change.follow_ups:
            flags |= _WITH_EDGES if change.edges is not None else 0
            flags |= _WITH_JOB if change.job is not None else 0
            extra = self._extra(change)
        due, due_ms = _due(change.due)
        head = _CHANGE.pack(
            _CHANGED,
            len(queue),
            len(job_id),
            change.fence,
            change.state,
            due,
            flags,
            change.attempt,
            change.deaths,
            change.stalls,
            due_ms,
            change.parked,
            change.delay_ms,
            change.look_ms,
            len(event),
            len(reason),
            len(extra),
            -1 if result is None else len(result),
            len(history),
        )
        return b"".join((head, queue, job_id, event, reason or b"", result or b"", history, extra))

    def _extra(self, change: Change) -> bytes:
        edges = b"" if change.edges is None else _edges(change.edges)
        job = b"" if change.job is None else self.job(change.job)
        return strings([edges, job, *map(self.job, change.follow_ups)])

    def note(self, note: Note) -> list[Argument]:
        """Return the four arguments of a note."""
        lease, name = note.lease, b""
        match note:
            case Step():
                kind, name, data = "step", text_bytes(note.name), note.data
            case Progress():
                kind, data = "progress", note.data
            case LogLine():
                kind, data = "line", _LINE.pack(lease.fence, note.at) + text_bytes(note.text)
            case _:
                assert_never(note)
        ref = named(Ref(lease.queue, lease.id))
        return [kind, lease.fence, ref, pack("<I", len(name)) + name + data]

    def lease(self, lease: Lease) -> bytes:
        """Return a lease that a session believes to hold."""
        return b"%d %b" % (lease.fence, named(Ref(lease.queue, lease.id)))


def read_line(data: bytes) -> tuple[int, int, str]:
    """Read a log line: fence of the attempt, instant, text."""
    fence, at = _LINE.unpack_from(data)
    return fence, at, data[_LINE.size :].decode("utf-8", "surrogatepass")


def _edges(refs: Iterable[Ref]) -> bytes:
    return strings([text for ref in refs for text in (ref.queue.encode(), packed(ref.id))])


def _due(due: Due) -> tuple[int, int]:
    match due:
        case After(ms=ms):
            return _AFTER, ms
        case At(ms=ms):
            return _AT, ms
        case Keep():
            return _KEEP, 0
        case _:
            assert_never(due)
