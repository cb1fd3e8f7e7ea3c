"""Put the sources together: defaults < file < `.env` < environment < flags.

Everything that was given is checked, and all that is wrong is told at once, each with its path
and its origin.
"""

from __future__ import annotations

import difflib
import os
import types
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct, structs

from treadle.broker.url import parse
from treadle.domain.limits import PAYLOAD_BYTES_HARD
from treadle.errors import ConfigurationError
from treadle.settings import schedules
from treadle.settings.sources import PREFIX, Given, from_environment, from_file
from treadle.settings.units import duration, size, written
from treadle.settings.values import Bytes, ScheduleSettings, Settings, leaves

_NONE_WORDS: Final = frozenset({"none", "off", "never"})


def _kinds(type: type[Struct], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, kind in get_type_hints(type, include_extras=True).items():
        if isinstance(kind, types.GenericAlias) or not hasattr(kind, "__struct_fields__"):
            yield prefix + name, kind
        else:
            yield from _kinds(kind, f"{prefix}{name}.")


_PATHS: Final[tuple[str, ...]] = tuple(path for path, _ in leaves(Settings()))
_KINDS: Final[Mapping[str, Any]] = {p: k for p, k in _kinds(Settings) if p in {*_PATHS, "plugin"}}
_SECTIONS: Final = tuple(dict.fromkeys(p.partition(".")[0] for p in _PATHS if "." in p))
NAMES: Final[Mapping[str, str]] = {PREFIX + path.upper().replace(".", "_"): path for path in _PATHS}
"""The environment variable of each leaf."""

_SECOND: Final = timedelta(seconds=1)
_BETWEEN: Final[Mapping[str, tuple[timedelta, timedelta]]] = {
    "worker.lease": (_SECOND, 3_600 * _SECOND),
    "worker.poll_interval": (_SECOND / 100, 3_600 * _SECOND),
    "enqueue_timeout": (_SECOND / 100, 3_600 * _SECOND),
}


def load(
    *,
    folder: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    defaults: Mapping[str, object] | None = None,
) -> Settings:
    """Read every setting; `flags` win over all sources, `defaults` (of a profile) over none.

    Both are given by path: `{"worker.concurrency": 20}`; a value None counts as not given.

    Raises:
        ConfigurationError: naming each setting that is unknown or does not fit, with its origin.
    """
    here = Path.cwd() if folder is None else folder
    given = [
        *_given(defaults or {}, "profile"),
        *from_file(here, _SECTIONS),
        *from_environment(here, os.environ if environ is None else environ, NAMES),
        *_given(flags or {}, "flag"),
    ]
    wrong: list[str] = []
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    failed: set[str] = set()
    for item in schedules.placed(given):
        try:
            values[item.path] = _checked(item)
            origins[item.path] = item.origin
        except ValueError as error:
            wrong.append(f"{error} ({item.origin})")
            failed.add(item.path)
    timetable = schedules.built(values)
    wrong += schedules.problems(timetable, origins, failed)
    if wrong:
        raise ConfigurationError("\n".join(wrong))
    settings: Settings = _built(Settings(schedules=timetable), values)
    origins.update((f"plugin.{name}", origins["plugin"]) for name in settings.plugin)
    return structs.replace(settings, origins=origins)


def _given(values: Mapping[str, object], origin: str) -> list[Given]:
    return [
        Given(path=path, value=value, origin=origin, text=isinstance(value, str))
        for path, value in values.items()
        if value is not None
    ]


def _built(tree: Any, values: Mapping[str, object], prefix: str = "") -> Any:
    changes: dict[str, object] = {}
    for name in tree.__struct_fields__:
        path = prefix + name
        if path in _SECTIONS:
            changes[name] = _built(getattr(tree, name), values, f"{path}.")
        elif path in values:
            changes[name] = values[path]
    return structs.replace(tree, **changes)


def _checked(given: Given) -> object:
    """Convert one value to its type; ValueError says what is wrong and where."""
    path = given.path
    if path in _SECTIONS:
        raise ValueError(f"Expected a table - at `$.{path}`")
    if schedules.is_table(path):
        raise ValueError(f"Expected a table with `cron` or `every` - at `$.{path}`")
    kind = _KINDS.get(path) or schedules.kind_of(path)
    if kind is None:
        raise ValueError(_unknown(path))
    try:
        value = _converted(kind, given)
        _refuse_out_of_bounds(path, value)
    except msgspec.ValidationError as error:
        raise ValueError(_placed(str(error), path) + _choices(kind)) from None
    except (ValueError, ConfigurationError) as error:
        raise ValueError(f"{error} - at `$.{path}`") from None
    return value


def _converted(kind: Any, given: Given) -> object:
    value = given.value
    word = value.strip().lower() if isinstance(value, str) else ""
    options = get_args(kind) if get_origin(kind) is types.UnionType else (kind,)
    if word in _NONE_WORDS and types.NoneType in options:
        return () if any(map(_is_tuple, options)) else None
    if kind is Bytes:
        return size(value)
    if given.text and get_origin(kind) is Mapping:
        return schedules.mapping_of(given.value)
    if timedelta in options:
        return duration(value)
    if isinstance(value, str) and any(map(_is_tuple, options)):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if word and any(map(_is_enum, options)):
        value = "warn" if word == "warning" else word
    return msgspec.convert(value, kind, strict=not given.text)


def _is_tuple(kind: Any) -> bool:
    plain = get_args(kind)[0] if hasattr(kind, "__metadata__") else kind
    return get_origin(plain) is tuple


def _is_enum(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, StrEnum)


def _refuse_out_of_bounds(path: str, value: object) -> None:
    if path == "url":
        parse(str(value))
    if path == "payload_limit" and isinstance(value, int) and value > PAYLOAD_BYTES_HARD:
        raise ValueError(f"Expected at most {PAYLOAD_BYTES_HARD} bytes")
    if path in _BETWEEN and isinstance(value, timedelta):
        low, high = _BETWEEN[path]
        if not low <= value <= high:
            raise ValueError(f"Expected a duration from {written(low)} to {written(high)}")


def _placed(text: str, path: str) -> str:
    if "`$" in text:
        return text.replace("`$", f"`$.{path}", 1)
    return f"{text} - at `$.{path}`"


def _choices(kind: Any) -> str:
    for option in (kind, *get_args(kind)):
        if _is_enum(option):
            return f"; one of {', '.join(option)}"
        if get_origin(option) is Literal:
            return f"; one of {', '.join(get_args(option))}"
    return ""


def _unknown(path: str) -> str:
    if path.startswith(PREFIX):
        return f"unknown setting `{path}`{_meant(path, list(NAMES))}"
    place, _, name = path.rpartition(".")
    if schedules.is_within(path):
        hint = _meant(name, list(ScheduleSettings.__struct_fields__))
        return f"unknown field `{name}` - at `$.{place}`{hint}"
    siblings = [p.removeprefix(f"{place}.") for p in _PATHS if p.startswith(f"{place}.")]
    known = siblings if place else [*(p for p in _PATHS if "." not in p), *_SECTIONS]
    elsewhere = [p for p in _PATHS if p.rpartition(".")[2] == name]
    hint = _meant(name, known) or _meant(path, elsewhere, 0.0)
    return f"unknown field `{name}` - at `$.{place}`".replace("$.`", "$`") + hint


def _meant(word: str, known: Sequence[str], cutoff: float = 0.6) -> str:
    found = difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
    return f"; did you mean `{found[0]}`?" if found else ""
