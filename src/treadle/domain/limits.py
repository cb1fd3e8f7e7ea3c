"""How large things may be, and how what is too large is trimmed before it is written."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct, structs

from treadle.domain.job import ErrorInfo
from treadle.domain.outcome import Change

PAYLOAD_BYTES: Final = 256 * 1024
"""Default limit of a payload."""
PAYLOAD_BYTES_HARD: Final = 4 * 1024 * 1024
"""No setting lifts the payload limit above this."""
PAYLOAD_DEPTH: Final = 64
RESULT_BYTES: Final = 1024 * 1024
ERROR_CHARS: Final = 64 * 1024
HISTORY_ROWS: Final = 20
"""Rows kept per job; the oldest go first."""
LOG_LINES: Final = 1_000
LOG_CHARS: Final = 4 * 1024
RAW_BYTES: Final = 4 * 1024
"""How much is kept of bytes that cannot be decoded."""
EVENTS_KEPT: Final = 10_000
FIND_EXAMINED: Final = 5_000
"""How many records one page of `find` may examine for a filter that is no seek."""

NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,128}")
"""Queue and type names."""
JOB_ID: Final = re.compile(r"[A-Za-z0-9_.:/\-]{1,128}")

_GAP: Final = "\n[... shortened ...]\n"

RESULT_TOO_LARGE: Final = b'{"treadle":"result_too_large"}'
RESULT_UNSERIALISABLE: Final = b'{"treadle":"result_unserialisable"}'


class TooDeep(ValueError):
    """A JSON text is nested deeper than the limit."""


def check_depth(text: bytes, limit: int = PAYLOAD_DEPTH) -> None:
    """Refuse a JSON text whose arrays and objects nest deeper than `limit`.

    Costs two counts for ordinary payloads; only one with many brackets is walked.

    Raises:
        TooDeep: if it is nested deeper.
    """
    if text.count(b"[") + text.count(b"{") <= limit:
        return
    depth = 0
    in_string = escaped = False
    for byte in text:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in b"[{":
            depth += 1
            if depth > limit:
                raise TooDeep(f"nested deeper than {limit} levels")
        elif byte in b"]}":
            depth -= 1


def clip(text: str, most: int = ERROR_CHARS) -> str:
    """Shorten a text to at most `most` characters; the middle goes, both ends stay."""
    if len(text) <= most:
        return text
    if most < len(_GAP) + 2:
        return text[:most]
    half = (most - len(_GAP)) // 2
    return text[:half] + _GAP + text[len(text) - half :]


def clip_bytes(text: str, most: int) -> str:
    """Shorten a text to at most `most` bytes of UTF-8, as `clip` does; no character is halved."""
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= most:
        return text
    if most < len(_GAP) + 2:
        return data[:most].decode("utf-8", "ignore")
    half = (most - len(_GAP)) // 2
    first, last = data[:half], data[len(data) - half :]
    return first.decode("utf-8", "ignore") + _GAP + last.decode("utf-8", "ignore")


class Budget(Struct, frozen=True):
    """How many bytes a broker can hold for one record."""

    max_record: int


def trim(change: Change, budget: Budget) -> Change:
    """Make a change fit its broker: the error is shortened first, then the result replaced.

    What does not fit leaves a note in its place, so nobody mistakes it for the real thing. The
    outcome itself is never changed.
    """
    size = len(change.result or b"") + _error_size(change)
    room = budget.max_record // 2
    if size <= room:
        return change
    history = change.history
    if history is not None and history.error is not None:
        room_for_error = max(room - len(change.result or b""), 1_024)
        error = _shortened(history.error, room_for_error)
        change = structs.replace(change, history=structs.replace(history, error=error))
    if change.result is not None and len(change.result) + _error_size(change) > room:
        change = structs.replace(change, result=RESULT_TOO_LARGE)
    return change


def _error_size(change: Change) -> int:
    error = change.history.error if change.history is not None else None
    return 0 if error is None else _bytes(error.message) + _bytes(error.traceback)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _shortened(error: ErrorInfo, room: int) -> ErrorInfo:
    return structs.replace(
        error,
        message=clip_bytes(error.message, room // 4),
        traceback=clip_bytes(error.traceback, room // 2),
    )
