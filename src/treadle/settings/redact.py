"""What is never shown of payloads, results and logs: the rule behind the setting `redact`.

The path of a value is the names that lead to it, joined by dots, a place in a list as its number:
`payload.user.password`, `result.rows.0.token`. A pattern is such a path in which `*` stands for any
characters, dots too; `*.` at its beginning also stands for nothing. Capitals do not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, cast

import msgspec
from msgspec import Raw

HIDDEN: Final = "[redacted]"
"""What stands in the place of a value that is not shown."""

_HIDDEN_JSON: Final = Raw(msgspec.json.encode(HIDDEN))

_Patterns = tuple[tuple[str, ...], ...]
"""Each pattern as the texts between its stars."""


def redacted(data: bytes, name: str, paths: Sequence[str]) -> bytes:
    """Return JSON with every value hidden whose path, beginning with `name`, fits one of `paths`.

    What is no JSON is hidden as a whole, since nobody can tell what is in it. Without paths the
    bytes are returned as they are.
    """
    if not paths:
        return data
    try:
        return bytes(_shown_json(Raw(data), name.casefold(), _patterns(tuple(paths))))
    except (msgspec.DecodeError, RecursionError):
        return bytes(_HIDDEN_JSON)


def redacted_fields(fields: Mapping[str, object], paths: Sequence[str]) -> Mapping[str, object]:
    """Do the same to the fields of a log line: paths begin with the name of a field."""
    patterns = _patterns(tuple(paths))
    return {name: _shown(value, str(name).casefold(), patterns) for name, value in fields.items()}


def _shown_json(data: Raw, path: str, patterns: _Patterns) -> Raw:
    """Numbers stay as they are written; of names that occur twice the last one counts."""
    if _is_hidden(path, patterns):
        return _HIDDEN_JSON
    match bytes(data).lstrip()[:1]:
        case b"{":
            fields = msgspec.json.decode(data, type=dict[str, Raw])
            shown = {
                name: _shown_json(value, f"{path}.{name.casefold()}", patterns)
                for name, value in fields.items()
            }
            return Raw(msgspec.json.encode(shown))
        case b"[":
            items = msgspec.json.decode(data, type=list[Raw])
            rows = [_shown_json(item, f"{path}.{n}", patterns) for n, item in enumerate(items)]
            return Raw(msgspec.json.encode(rows))
        case _:
            return msgspec.json.decode(data, type=Raw)  # an error if it is no JSON


def _shown(value: object, path: str, patterns: _Patterns) -> object:
    if _is_hidden(path, patterns):
        return HIDDEN
    if isinstance(value, Mapping):
        fields = cast("Mapping[object, object]", value)
        return {
            name: _shown(inside, f"{path}.{str(name).casefold()}", patterns)
            for name, inside in fields.items()
        }
    if isinstance(value, list | tuple):
        items = cast("Sequence[object]", value)
        return [_shown(item, f"{path}.{n}", patterns) for n, item in enumerate(items)]
    return value


@lru_cache(maxsize=16)
def _patterns(paths: tuple[str, ...]) -> _Patterns:
    folded = [path.casefold() for path in paths]
    anywhere = [path.removeprefix("*.") for path in folded if path.startswith("*.")]
    return tuple(tuple(path.split("*")) for path in [*folded, *anywhere])


def _is_hidden(path: str, patterns: _Patterns) -> bool:
    return any(_fits(path, parts) for parts in patterns)


def _fits(path: str, parts: Sequence[str]) -> bool:
    """Tell whether a path consists of these texts, in order, with anything between them."""
    first, last = parts[0], parts[-1]
    if len(parts) == 1:
        return path == first
    if len(path) < len(first) + len(last) or not (path.startswith(first) and path.endswith(last)):
        return False
    place, end = len(first), len(path) - len(last)
    for part in parts[1:-1]:
        place = path.find(part, place, end)
        if place < 0:
            return False
        place += len(part)
    return True
