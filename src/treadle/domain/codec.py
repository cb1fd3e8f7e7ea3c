"""How bodies and history rows are written as bytes, and read back without ever raising.

The envelope is a JSON object with a version `v`. A reader takes any field it does not know for
one that a later minor version added and ignores it; a larger `v` is a newer version, whose record is left
in place. What cannot be read comes back as a `Fault`: bad data is data.

The payload is not part of the body: stores that must read policies without payloads keep them
apart. Jobs of one handler share their body bytes, so both directions remember the last ones.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from treadle.domain.job import (
    DEFAULT_POLICY,
    NOW,
    After,
    At,
    Fault,
    FaultCode,
    HistoryRow,
    Job,
    Policy,
    Priority,
    Ref,
)
from treadle.domain.limits import RAW_BYTES
from treadle.domain.unique import Unique

VERSION = 1
_REMEMBERED = 1_024


class Body(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is written of a job besides id, queue, priority and payload."""

    v: int
    type: str
    policy: Policy = DEFAULT_POLICY
    due: After | At = NOW
    expires: After | At | None = None
    unique: Unique | None = None
    key: str = ""
    after: tuple[Ref, ...] = ()
    run_anyway: bool = False
    meta: dict[str, str] = {}


class _Version(Struct):
    v: int


_encoder = msgspec.json.Encoder()
_body_decoder = msgspec.json.Decoder(Body)
_version_decoder = msgspec.json.Decoder(_Version)
_history_decoder = msgspec.json.Decoder(HistoryRow)
_any_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class Codec:
    """Encodes and decodes bodies; one per broker, safe to use from one thread at a time."""

    def __init__(self) -> None:
        self._encoded: dict[tuple[str, int], tuple[Policy, bytes]] = {}
        self._decoded: dict[bytes, Body] = {}

    def encode(self, job: Job) -> bytes:
        """Return the body of `job`, without its payload."""
        own = job.unique or job.after or job.key or job.expires or job.meta or job.run_anyway
        if own or job.due is not NOW:
            return _encode(job)
        known = self._encoded.get((job.type, id(job.policy)))
        if known is not None:
            return known[1]
        body = _encode(job)
        if len(self._encoded) >= _REMEMBERED:
            self._encoded.clear()
        # The policy is kept alive with its id, so the id cannot come to mean another one.
        self._encoded[job.type, id(job.policy)] = (job.policy, body)
        return body

    def decode(self, body: bytes) -> Body | Fault:
        """Read a body; what cannot be read is a `Fault` that says why."""
        known = self._decoded.get(body)
        if known is not None:
            return known
        read = _decode(body)
        if isinstance(read, Body) and len(body) <= 1_024:
            if len(self._decoded) >= _REMEMBERED:
                self._decoded.clear()
            self._decoded[body] = read
        return read

    def job(
        self, *, queue: str, id: str, priority: Priority, body: bytes, payload: bytes = b"{}"
    ) -> tuple[Job, Fault | None]:
        """Put a job together from what a store keeps; a faulty body gives a job that only names itself."""
        read = self.decode(body)
        if isinstance(read, Fault):
            return Job(id=id, type="", queue=queue, priority=priority, payload=payload), read
        job = Job(
            id=id,
            type=read.type,
            payload=payload,
            queue=queue,
            priority=priority,
            policy=read.policy,
            due=read.due,
            expires=read.expires,
            unique=read.unique,
            key=read.key,
            after=read.after,
            run_anyway=read.run_anyway,
            meta=read.meta,
        )
        return job, None


def _encode(job: Job) -> bytes:
    return _encoder.encode(
        Body(
            v=VERSION,
            type=job.type,
            policy=job.policy,
            due=job.due,
            expires=job.expires,
            unique=job.unique,
            key=job.key,
            after=job.after,
            run_anyway=job.run_anyway,
            meta=dict(job.meta),
        )
    )


def _decode(body: bytes) -> Body | Fault:
    try:
        read = _body_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _fault(body, error)
    if read.v > VERSION:
        return _newer(body, read.v)
    return read


def _newer(body: bytes, version: int) -> Fault:
    detail = f"written by a newer version (envelope {version}, this one reads {VERSION})"
    return Fault(code=FaultCode.UNSUPPORTED_VERSION, detail=detail, raw=body[:RAW_BYTES])


def _fault(body: bytes, error: Exception) -> Fault:
    try:
        version = _version_decoder.decode(body).v
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        version = 0
    if version > VERSION:
        return _newer(body, version)
    try:
        _any_decoder.decode(body)
        code = FaultCode.BAD_ENVELOPE
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        code = FaultCode.UNDECODABLE
    return Fault(code=code, detail=str(error), raw=body[:RAW_BYTES])


def encode_history(row: HistoryRow) -> bytes:
    """Return a history row as JSON."""
    return _encoder.encode(row)


def decode_history(text: bytes) -> HistoryRow:
    """Read a history row; one that cannot be read becomes a row that says so."""
    try:
        return _history_decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return HistoryRow(event="unreadable", fence=0, reason=str(error))
