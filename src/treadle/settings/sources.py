"""Where settings come from: one TOML file, `.env`, the environment. Data only, never code.

Each source is turned into a flat list of what was given, with its origin. A file that others
may write is refused, and so is one that holds a password and that others may read.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Final, cast

from msgspec import Struct

from treadle.errors import ConfigurationError

PLAIN_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "REDIS_URL": "url",
        "DATABASE_URL": "url",
        "API_PORT": "web.port",
        "PORT": "web.port",
        "BUFFER_SIZE": "web.buffer",
        "WORKER_CONCURRENCY": "worker.concurrency",
        "WORKER_COUNT": "worker.concurrency",
        "WORKER_QUEUES": "worker.queues",
        "WORKER_POLL_INTERVAL": "worker.poll_interval",
        "WORKER_SHUTDOWN_TIMEOUT": "worker.grace",
        "JOB_DEFAULT_TIMEOUT": "job.timeout",
        "MAX_RETRIES": "job.retries",
        "LOG_LEVEL": "log.level",
        "LOG_FORMAT": "log.format",
    }
)
"""Names without our prefix. They rank below `QRUN_` names; of two for one path, the first wins."""

PREFIX: Final = "QRUN_"
SCHEDULES: Final = "schedules"
"""The table whose entries users name themselves."""
_NOT_SETTINGS: Final = ("QRUN_PLUGIN_", "QRUN_TEST_")
"""Variables that plugins and tests read on their own."""

_PASSWORD: Final = re.compile(r"://[^/\s]*:[^/\s]+@|://.*[?&]\w*password=[^&\s]", re.IGNORECASE)


class Given(Struct, frozen=True, kw_only=True):
    """One value that a source gives. Text of the environment is read leniently, TOML strictly."""

    path: str
    value: object
    origin: str
    text: bool = False


def from_file(folder: Path, sections: Sequence[str]) -> list[Given]:
    """Read `treadle.toml`, or `[tool.treadle]` of `pyproject.toml`, if one is there.

    Raises:
        ConfigurationError: if both hold settings, or one cannot be read or trusted.
    """
    found: dict[str, dict[str, object]] = {}
    for name in ("treadle.toml", "pyproject.toml"):
        read = _contents(folder / name)
        if read is None:
            continue
        text, mode = read
        table = _table(_toml(text, name), name)
        if table:
            _refuse_untrusted(folder / name, mode, table)
            found[name] = table
    if len(found) > 1:
        raise ConfigurationError(
            "settings stand in treadle.toml and in [tool.treadle] of pyproject.toml: keep one of them"
        )
    return [given for name, table in found.items() for given in _flat(table, name, "", sections)]


def from_environment(
    folder: Path, environ: Mapping[str, str], names: Mapping[str, str]
) -> list[Given]:
    """Read `.env` and the environment, which wins; `names` tells the path of each `QRUN_` name.

    Raises:
        ConfigurationError: if `.env` cannot be read or trusted.
    """
    known: dict[str, tuple[str, str]] = {}
    for origin, values in ((".env", _dotenv(folder / ".env")), ("environment", environ)):
        for name, value in values.items():
            if value and _is_ours(name):
                known[name] = (value, f"{origin}: {name}")
    ranked = [*reversed(list(PLAIN_NAMES)), *(name for name in known if name not in PLAIN_NAMES)]
    return [
        Given(
            path=PLAIN_NAMES.get(name) or names.get(name, name),
            value=known[name][0],
            origin=known[name][1],
            text=True,
        )
        for name in ranked
        if name in known
    ]


def _is_ours(name: str) -> bool:
    return name in PLAIN_NAMES or (name.startswith(PREFIX) and not name.startswith(_NOT_SETTINGS))


def _contents(path: Path) -> tuple[str, int] | None:
    """Return text and mode of the same open file; None if there is none."""
    try:
        with path.open("rb") as file:
            return file.read().decode("utf-8-sig"), os.fstat(file.fileno()).st_mode
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {path.name}: {error}") from error


def _toml(text: str, name: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"cannot read {name}: {error}") from error


def _table(whole: dict[str, object], name: str) -> dict[str, object]:
    if name == "treadle.toml":
        return whole
    tool = whole.get("tool")
    if not isinstance(tool, dict):
        return {}
    found = cast("dict[str, object]", tool).get("treadle", {})
    if not isinstance(found, dict):
        raise ConfigurationError("[tool.treadle] of pyproject.toml must be a table")
    return cast("dict[str, object]", found)


def _flat(
    table: Mapping[str, object], origin: str, prefix: str, sections: Sequence[str]
) -> Iterator[Given]:
    for key, value in table.items():
        path = prefix + key
        # An empty schedule is told as one that says nothing; it would be lost here.
        inner = path in sections or path == SCHEDULES or (prefix == f"{SCHEDULES}." and value)
        if inner and isinstance(value, dict):
            yield from _flat(cast("dict[str, object]", value), origin, f"{path}.", sections)
        else:
            yield Given(path=path, value=value, origin=origin)


def _dotenv(path: Path) -> dict[str, str | None]:
    read = _contents(path)
    if read is None:
        return {}
    from dotenv import dotenv_values  # noqa: PLC0415 - loaded only where there is such a file

    text, mode = read
    values = dotenv_values(stream=StringIO(text))
    ours = {name: value for name, value in values.items() if _is_ours(name)}
    if ours:
        _refuse_untrusted(path, mode, ours)
    return ours


def _refuse_untrusted(path: Path, mode: int, values: Mapping[str, object]) -> None:
    if os.name != "posix":
        return
    if mode & stat.S_IWOTH:
        raise ConfigurationError(
            f"{path.name} can be written by everybody: chmod o-w {path.name}, then look at it"
        )
    if mode & (stat.S_IRGRP | stat.S_IROTH) and any(map(_PASSWORD.search, _texts(values))):
        raise ConfigurationError(
            f"{path.name} holds a URL with a password and can be read by others: "
            f"chmod 600 {path.name}, or give the URL in the environment as QRUN_URL"
        )


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for part in cast("Mapping[object, object]", value).values():
                yield from _texts(part)
        case list():
            for part in cast("list[object]", value):
                yield from _texts(part)
        case _:
            return
