"""Integers that not every reader of JSON keeps: beyond 2^53 they travel as strings."""

from __future__ import annotations

import re
from typing import Any, Final, cast

import msgspec
from msgspec import Raw

from treadle.domain.job import NEVER

_LONG: Final = re.compile(rb"\d{16}")


def exact(value: Raw | str | None) -> Raw | str | None:
    """Return stored JSON in which each integer beyond 2^53 - 1 is a string."""
    if not isinstance(value, Raw) or _LONG.search(value) is None:
        return value
    return Raw(msgspec.json.encode(_walk(msgspec.json.decode(value))))


def _walk(value: Any) -> Any:
    match value:
        case bool():
            return value
        case int():
            return value if -NEVER <= value <= NEVER else str(value)
        case dict():
            return {key: _walk(item) for key, item in cast("dict[str, Any]", value).items()}
        case list() | tuple():
            return [_walk(item) for item in cast("list[Any]", value)]
        case _:
            return value
