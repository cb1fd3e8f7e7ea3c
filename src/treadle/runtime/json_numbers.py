"""Numbers that JSON cannot carry from every store to every reader: NaN, infinity, beyond 64 bits.

They are refused once, here, for all brokers, when a job is enqueued and again when it is run. Text is
looked at first, in a few passes of C; only one that might hold such a number is walked.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, Final, cast

import msgspec

LOWEST: Final = -(2**63)
HIGHEST: Final = 2**64 - 1
_LONG: Final = b"0" * 19
"""As many digits as the shortest integer beyond 64 bits."""
_MARKED: Final = bytes(ord("0") if chr(code) in "0123456789" else 0 for code in range(256))
_DEEPEST: Final = 200


class BadNumber(ValueError):
    """A number that must not be written; `path` says where it stands."""

    def __init__(self, what: str, path: str) -> None:
        super().__init__(what)
        self.path = path


def may_be_huge(text: bytes) -> bool:
    """Tell whether a JSON text has as many digits in a row as a huge integer."""
    return _LONG in text.translate(_MARKED)


def check_numbers(value: Any, text: bytes) -> None:
    """Refuse a value whose JSON `text` hides NaN or infinity as null, or holds a huge integer.

    Raises:
        BadNumber: naming the first one and its path.
    """
    if b"null" in text or may_be_huge(text):
        _walk(msgspec.to_builtins(value, str_keys=True), "$", 0)


def check_finite(value: Any, text: bytes) -> None:
    """Refuse a value whose JSON `text` hides NaN or infinity as null."""
    if b"null" in text:
        _walk(msgspec.to_builtins(value, str_keys=True), "$", 0, integers=False)


def _walk(value: Any, path: str, depth: int, *, integers: bool = True) -> None:
    if isinstance(value, float):
        if not isfinite(value):
            raise BadNumber(f"{value} is no JSON number", path)
    elif isinstance(value, int):
        if integers and not LOWEST <= value <= HIGHEST:
            raise BadNumber("the integer has more than 64 bits", path)
    elif depth >= _DEEPEST:
        return
    elif isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            _walk(item, f"{path}.{key}", depth + 1, integers=integers)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(cast("list[Any]", value)):
            _walk(item, f"{path}[{index}]", depth + 1, integers=integers)
