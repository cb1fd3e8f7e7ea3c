"""Whether a claimed job may run here at all: asked once, before its handler starts."""

from __future__ import annotations

from types import MappingProxyType

from treadle.domain.job import ErrorInfo, Fault, FaultCode, Record
from treadle.domain.outcome import Expired, Lost, Parked, Rejected
from treadle.domain.state import Reason

_REASONS = MappingProxyType(
    {
        FaultCode.UNDECODABLE: Reason.UNDECODABLE,
        FaultCode.BAD_ENVELOPE: Reason.BAD_ENVELOPE,
        FaultCode.UNSUPPORTED_VERSION: Reason.UNSUPPORTED_VERSION,
    }
)


def admit(record: Record, now: int, *, known: bool) -> Lost | Parked | Rejected | Expired | None:
    """Say what happens to a claimed job instead of running it; None lets it run.

    `known` tells whether this worker has a handler of its type. A record of a newer version and
    an unknown type wait for a worker that knows better; bytes that nobody can read are dead, and kept.
    """
    if record.lost:
        return Lost(ended=record.session_ended, detail="handed out again by the broker")
    if record.fault is not None:
        return _faulty(record.fault)
    if 0 < record.head.expires <= now:
        return Expired()
    if not known:
        return Parked(reason=Reason.UNKNOWN_TYPE, detail=f"no handler for {record.job.type!r}")
    return None


def _faulty(fault: Fault) -> Parked | Rejected:
    reason = _REASONS[fault.code]
    if fault.code is FaultCode.UNSUPPORTED_VERSION:
        return Parked(reason=reason, detail=fault.detail)
    error = ErrorInfo(type=reason.value, message=fault.detail, traceback=f"raw: {fault.raw.hex()}")
    return Rejected(reason=reason, error=error)
