"""Durations and sizes as people write them in settings: `25s`, `1h30m`, `256KiB`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Final

_MS: Final[Mapping[str, int]] = MappingProxyType(
    {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
)
_BYTES: Final[Mapping[str, int]] = MappingProxyType(
    {"": 1, "b": 1, "kb": 1_000, "kib": 1_024, "mb": 1_000**2, "mib": 1_024**2}
)
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SIZE: Final = re.compile(r"(\d+)\s*([a-z]*)")
_LONGEST_MS: Final = 100 * 365 * _MS["d"]


def duration(value: object) -> timedelta:
    """Read a duration: `250ms`, `30s`, `5m`, `1h30m`, `2d`; a bare number counts seconds.

    Raises:
        ValueError: if it is none, is negative, or is longer than a century.
    """
    if isinstance(value, timedelta):
        return value
    milliseconds = _milliseconds(value)
    if milliseconds is None or not 0 <= milliseconds <= _LONGEST_MS:
        raise ValueError("Expected a duration such as `250ms`, `30s`, `5m` or `1h30m`")
    return timedelta(milliseconds=milliseconds)


def _milliseconds(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value * 1_000
    if not isinstance(value, str):
        return None
    text = value.strip().lower().replace(" ", "")
    if text.replace(".", "", 1).isdecimal():
        return float(text) * 1_000
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _MS[unit] for number, unit in parts)


def written(value: timedelta) -> str:
    """Write a duration with the largest units that keep it exact: `1h30m`, `25s`, `250ms`."""
    rest = round(value / timedelta(milliseconds=1))
    text = ""
    for unit in ("d", "h", "m", "s", "ms"):
        count, rest = divmod(rest, _MS[unit])
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def size(value: object) -> int:
    """Read a number of bytes: `262144`, `256KiB`, `1MB`.

    Raises:
        ValueError: if it is none.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = _SIZE.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if found is None or found[2] not in _BYTES:
        raise ValueError("Expected a size such as `262144`, `256KiB` or `1MiB`")
    return int(found[1]) * _BYTES[found[2]]
