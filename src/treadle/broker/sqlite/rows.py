"""Rows become records. Bad data is data: a head that makes no sense gives a record with a fault.

Columns 0 to 15 are those of `{head}` in `statements`, then body and payload; what an operation
promises beyond that stands behind them.
"""

from __future__ import annotations

from itertools import product
from typing import Final

import msgspec
from msgspec import Struct, structs

from treadle.broker.sqlite.connection import Connection, Row
from treadle.domain.head import next_look_ms
from treadle.domain.job import Fault, FaultCode, Head, Job, Priority, Record
from treadle.domain.limits import RAW_BYTES
from treadle.domain.state import State

SEQ: Final = 0
ID: Final = 1
QUEUE: Final = 2
PRIO: Final = 3
STATE: Final = 4
FENCE: Final = 5
DUE: Final = 6
ATTEMPT: Final = 7
CLAIMED: Final = 10
SESSION: Final = 11
FINISHED: Final = 12
MORE: Final = 15
BODY: Final = 16
PAYLOAD: Final = 17
REST: Final = 18
"""Where the columns begin that only some statements ask for."""

FORGOTTEN: Final = 10
"""Added to the state of a record of which only that is remembered."""

_FIRST: Final = 1 << 60
EARLIEST: Final = -(1 << 59)
"""The earliest due time; what is stored before it stands first."""
_LATEST: Final = (1 << 63) - 1

_STATES: tuple[State, ...] = tuple(State)
_NONE = type(None)
_SOUND = frozenset(
    (int, str, int, int, int, int, int, int, int, int, int, *rest)
    for rest in product(
        (int, _NONE),  # session
        (int, _NONE),  # finished
        (int,),  # expires
        (str, _NONE),  # blocked_on
        (str, _NONE),  # more
        (bytes,),  # body
        (bytes, _NONE),  # payload
    )
)


class More(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The parts of a head that are rarely set."""

    deaths: int = 0
    stalls: int = 0
    parked: int = 0
    delay_ms: int = 0
    look_ms: int = 0
    reason: str = ""


NOTHING_MORE = More()
_more_encoder = msgspec.json.Encoder()
_more_decoder = msgspec.json.Decoder(More)


def encode_more(head: Head) -> str | None:
    """Return what is rarely set of a head as text; None if nothing is."""
    more = More(
        deaths=head.deaths,
        stalls=head.stalls,
        parked=head.parked,
        delay_ms=head.delay_ms,
        look_ms=head.look_ms,
        reason=head.reason,
    )
    return None if more == NOTHING_MORE else _more_encoder.encode(more).decode()


def put_aside(text: str | None) -> tuple[int, str | None]:
    """Return how long a row that meets a full key waits for a look, and its new rare parts.

    The same as domain.head.blocked_on; parts that make no sense stay, to be seen at a claim.
    """
    more = NOTHING_MORE if text is None else decode_more(text)
    look_ms = next_look_ms(0 if more is None else more.look_ms)
    if more is None:
        return look_ms, text
    return look_ms, _more_encoder.encode(structs.replace(more, look_ms=look_ms)).decode()


def stored(instant: int) -> int:
    """Bring an instant into the range that the file can hold."""
    return max(min(instant, _LATEST), EARLIEST)


def standing_first(instant: int) -> int:
    """Mark a due time so that its job is claimed before all others of its priority."""
    return instant - _FIRST


def shown_due(due: int) -> int:
    """Return the due time behind a stored one."""
    return due if due >= EARLIEST else due + _FIRST


def is_sound(row: Row) -> bool:
    """Tell whether head, body and payload have the types and ranges that we write."""
    return (
        tuple(map(type, row[:REST])) in _SOUND
        and 0 <= row[PRIO] <= 3
        and (0 <= row[STATE] <= 5 or FORGOTTEN + 3 <= row[STATE] <= FORGOTTEN + 5)
        and (row[MORE] is None or decode_more(row[MORE]) is not None)
    )


def record(connection: Connection, row: Row) -> Record:
    """Show a row: job, head and fault."""
    if not is_sound(row):
        return _mended(connection, row)
    (_, job_id, queue, prio, state, fence, due, attempt, cancel, created, claimed, session) = row[
        :12
    ]
    (finished, expires, blocked_on, text, body, payload) = row[12:REST]
    name = connection.names.queue_name(queue)
    if state >= FORGOTTEN:
        return forgotten(name, job_id, State(state - FORGOTTEN), fence, due)
    more = NOTHING_MORE if text is None else decode_more(text) or NOTHING_MORE
    job, fault = connection.job(name, job_id, prio, body, b"" if payload is None else payload)
    head = Head(
        state=_STATES[int(state)],
        fence=fence,
        due=shown_due(due),
        attempt=attempt,
        deaths=more.deaths,
        stalls=more.stalls,
        parked=more.parked,
        delay_ms=more.delay_ms,
        look_ms=more.look_ms,
        expires=expires,
        cancel=bool(cancel),
        reason=more.reason,
        claimed=claimed,
        finished=finished or 0,
        session=connection.names.session(session),
        blocked_on=blocked_on or "",
    )
    return Record(job=job, head=head, created=created, fault=fault)


def forgotten(queue: str, id: str, state: State, fence: int, until: int) -> Record:
    """Show what is remembered of a record that was purged."""
    head = Head(state=state, fence=fence, due=until)
    job = Job(id=id, type="", queue=queue)
    return Record(job=job, head=head, created=0, forgotten=True)


def mend(row: Row) -> Row:
    """Return a row with the types that we write; what made no sense is zero or empty."""
    numbers = [value if type(value) is int else 0 for value in row]
    prio, state = numbers[PRIO], numbers[STATE]
    return (
        row[SEQ],
        _text(row[ID]),
        numbers[QUEUE],
        prio if 0 <= prio <= 3 else Priority.MEDIUM.value,
        state if type(row[STATE]) is int and 0 <= state <= 5 else State.DEAD.value,
        max(numbers[FENCE], 1),
        *numbers[DUE:SESSION],
        numbers[SESSION] if type(row[SESSION]) is int else None,
        numbers[FINISHED] if type(row[FINISHED]) is int else None,
        numbers[13],
        None if row[14] is None else _text(row[14]),
        row[MORE] if type(row[MORE]) is str and decode_more(row[MORE]) is not None else None,
        _raw(row[BODY]),
        None if row[PAYLOAD] is None else _raw(row[PAYLOAD]),
        *row[REST:],
    )


def _mended(connection: Connection, row: Row) -> Record:
    """Show a row whose head makes no sense: what can be read of it, and a fault."""
    shown = record(connection, mend(row))
    bad = [f"column {n}: {value!r:.80}" for n, value in enumerate(row[:BODY]) if _is_bad(n, value)]
    if shown.fault is not None and type(row[BODY]) is bytes:
        return shown
    fault = Fault(
        code=FaultCode.BAD_ENVELOPE,
        detail="its row in the file makes no sense: " + ("; ".join(bad) or "the body is no bytes"),
        raw=_raw(row[BODY])[:RAW_BYTES],
    )
    return msgspec.structs.replace(shown, fault=fault)


def _is_bad(column: int, value: object) -> bool:
    match column:
        case 1:
            return not isinstance(value, str)
        case 3:
            return not (isinstance(value, int) and 0 <= value <= 3)
        case 4:
            return not (isinstance(value, int) and 0 <= value <= 5)
        case 11 | 12:
            return not (value is None or isinstance(value, int))
        case 14:
            return not (value is None or isinstance(value, str))
        case 15:
            return not (
                value is None or (isinstance(value, str) and decode_more(value) is not None)
            )
        case _:
            return not isinstance(value, int)


def decode_more(text: str) -> More | None:
    """Read the parts of a head that are rarely set; None if they make no sense."""
    try:
        return _more_decoder.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, TypeError):
        return None


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _raw(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    return b"" if value is None else str(value).encode("utf-8", "replace")
