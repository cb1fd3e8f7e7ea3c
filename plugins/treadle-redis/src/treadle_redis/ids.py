"""How ids are stored: a UUID as its 16 bytes behind a mark, any other id as its text.

Each job is named by several entries of the store, so a short name is worth more than a readable
one. No id begins with the mark: what is read back is what was written.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_MARK: Final = b"\x01"
_MARK_CODE: Final = 1
_TEXT: Final = 36
_PACKED: Final = 17
_FRONT_TEXT: Final = 24
_FRONT: Final = 11


def packed(id: str) -> bytes:
    """Return how an id is stored."""
    if len(id) == _TEXT:
        front = _front(id[:_FRONT_TEXT])
        if front:
            digits = id[_FRONT_TEXT:]
            back = _bytes(digits)
            if back.hex() == digits:
                return front + back
    return id.encode()


def unpacked(data: bytes) -> str:
    """Return the id that was stored; bytes that are no id come back as text that shows them."""
    if len(data) == _PACKED and data[0] == _MARK_CODE:
        return _front_text(data[1:_FRONT]) + data[_FRONT:].hex()
    return data.decode(errors="replace")


@lru_cache(1_024)  # the ids of one process share their front for some time
def _front(text: str) -> bytes:
    found = _bytes(text.replace("-", ""))
    return _MARK + found if _front_text(found) == text else b""


@lru_cache(1_024)
def _front_text(data: bytes) -> str:
    digits = data.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:]}-"


def _bytes(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return b""
