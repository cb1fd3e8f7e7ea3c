"""Which failures are the same one: type, exception, the line of the user's code, and what was said."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from treadle.cli.views import last_error
from treadle.domain.job import ErrorInfo, Record

_FRAME: Final = re.compile(r'^\s*File "([^"\n]{1,500})", line \d+, in (\S{1,200})', re.MULTILINE)
_FOREIGN: Final = ("site-packages", "/lib/python", "<frozen", "/treadle/runtime/")
_QUOTED: Final = re.compile(r"'[^'\n]{0,200}'|\"[^\"\n]{0,200}\"")
_HEX: Final = re.compile(r"\b(?:0x)?[0-9a-fA-F]{8,}(?:-[0-9a-fA-F]{4,}){0,4}\b")
_NUMBER: Final = re.compile(r"\d+")
_LONGEST: Final = 500


def fingerprint(record: Record) -> tuple[str, ErrorInfo]:
    """Return the mark of the failure that a job died of, and the failure."""
    error = last_error(record) or ErrorInfo(type="", message="")
    parts = (
        record.job.type,
        record.head.reason,
        error.type,
        _own_frame(error.traceback),
        normal(error.message),
    )
    digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=6)
    return f"fp_{digest.hexdigest()}", error


def normal(message: str) -> str:
    """Return a message without what differs each time: numbers, ids, and what stands in quotes."""
    text = _QUOTED.sub("'…'", message[:_LONGEST])
    return _NUMBER.sub("0", _HEX.sub("#", text))


def _own_frame(traceback: str) -> str:
    """Return file and function of the last frame that is neither a library's nor ours."""
    frames = _FRAME.findall(traceback)
    own = [frame for frame in frames if not any(part in frame[0] for part in _FOREIGN)]
    file, function = (own or frames or [("", "")])[-1]
    return f"{file.rpartition('/')[2]}:{function}"
