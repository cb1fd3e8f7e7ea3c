"""Schedules of the settings: `[tool.treadle.schedules.NAME]`, or `QRUN_SCHEDULES_NAME_CRON`.

Users name these tables themselves, so a variable is read from its end, where the field stands. What
comes before is the name: that of a schedule of a file if it differs only in capitals, `.` and `-`,
else a new one in small letters.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, cast, get_type_hints

import msgspec
from msgspec import structs

from treadle.errors import ConfigurationError
from treadle.settings.sources import PREFIX, SCHEDULES, Given
from treadle.settings.values import ScheduleSettings

_TABLE: Final = f"{SCHEDULES}."
_VARIABLE: Final = f"{PREFIX}{SCHEDULES.upper()}_"
_KINDS: Final[Mapping[str, Any]] = get_type_hints(ScheduleSettings, include_extras=True)
_LONGEST_FIRST: Final = sorted(_KINDS, key=len, reverse=True)
_MS: Final = timedelta(milliseconds=1)


def is_within(path: str) -> bool:
    """Tell whether a path leads to a field of a schedule, or to what was taken for one."""
    return path.startswith(_TABLE) and "." in path.removeprefix(_TABLE)


def is_table(path: str) -> bool:
    """Tell whether a table stands at a path: all schedules, or one of them."""
    return path == SCHEDULES or (path.startswith(_TABLE) and not is_within(path))


def kind_of(path: str) -> Any:
    """Return the type of a field of a schedule; None if it has no such field."""
    return _KINDS.get(_split(path)[1]) if is_within(path) else None


def variable_of(path: str) -> str | None:
    """Return the variable that sets a field of a schedule; None for anything else."""
    return PREFIX + _folded(path).replace(".", "_").upper() if kind_of(path) else None


def mapping_of(text: object) -> Mapping[str, Any]:
    """Read the payload in a variable.

    Raises:
        ValueError: if it is no JSON object.
    """
    try:
        return msgspec.json.decode(str(text), type=dict[str, Any])
    except msgspec.MsgspecError:
        raise ValueError("Expected a JSON object") from None


def placed(given: Sequence[Given]) -> list[Given]:
    """Give the variables of schedules their paths; everything else stays as it is."""
    names = [_split(item.path)[0] for item in given if is_within(item.path)]
    known = {_folded(name): name for name in names}
    return [_placed(item, known) for item in given]


def _placed(item: Given, known: Mapping[str, str]) -> Given:
    if not item.path.startswith(_VARIABLE):
        return item
    rest = item.path.removeprefix(_VARIABLE).lower()
    for field in _LONGEST_FIRST:
        name = rest.removesuffix(f"_{field}")
        if name and name != rest:
            return structs.replace(item, path=f"{_TABLE}{known.get(name, name)}.{field}")
    return item


def _folded(name: str) -> str:
    return re.sub(r"[.-]", "_", name.lower())


def _split(path: str) -> tuple[str, str]:
    name, _, field = path.removeprefix(_TABLE).rpartition(".")
    return name, field


def built(values: Mapping[str, object]) -> dict[str, ScheduleSettings]:
    """Put the schedules together, by name."""
    fields: dict[str, dict[str, object]] = {}
    for path, value in values.items():
        if is_within(path):
            name, field = _split(path)
            fields.setdefault(name, {})[field] = value
    return {name: ScheduleSettings(**cast("Any", said)) for name, said in fields.items()}


def problems(
    found: Mapping[str, ScheduleSettings], origins: Mapping[str, str], told: Collection[str]
) -> Iterator[str]:
    """Yield what is wrong with schedules, with path and origin; not of those with a path in `told`."""
    if not found:
        return
    from treadle.domain.timetable import MOST  # noqa: PLC0415 - only who has schedules needs it

    if len(found) > MOST:
        yield f"Expected at most {MOST} schedules, got {len(found)} - at `$.{SCHEDULES}`"
        return
    faulty = {_split(path)[0] for path in told if is_within(path)}
    for name, said in found.items():
        problem = None if name in faulty else _problem(name, said)
        if problem is not None:
            field, text = problem
            path = f"{_TABLE}{name}.{field}".removesuffix(".")
            origin = origins.get(path) or next(
                o for p, o in origins.items() if _split(p)[0] == name
            )
            yield f"{text} - at `$.{path}` ({origin})"


def _problem(name: str, said: ScheduleSettings) -> tuple[str, str] | None:
    """Say which field of a schedule is wrong, and what is; no field if it is the whole."""
    # Only who has schedules needs the arithmetic of them.
    from treadle.domain.cron import Cron, Every, Schedule, check  # noqa: PLC0415
    from treadle.domain.local_time import find_zone  # noqa: PLC0415
    from treadle.domain.timetable import check_name  # noqa: PLC0415

    field = ""
    try:
        check_name(name)
        if (said.cron is None) == (said.every is None):
            return "", "Expected either `cron` or `every`"
        field = "tz"
        find_zone(said.tz)
        field = "look_back"
        minute = Every(period_ms=60_000)
        if said.look_back is not None:
            check(Schedule(when=minute, look_back_ms=said.look_back // _MS))
        field = "cron" if said.every is None else "every"
        if said.every is not None:
            check(Schedule(when=Every(period_ms=said.every // _MS)))
        elif said.cron is not None:
            check(Schedule(when=Cron(expr=said.cron, tz=said.tz)))
    except ConfigurationError as error:
        return field, str(error)
    return None
