"""What a run found: rows, a table of promises and levels, JSON, and a badge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import msgspec
from msgspec import Struct

from treadle.conformance.case import Case, Level

SCHEMA: Final = 1
"""Of the JSON report; it grows when a field changes its meaning or goes."""

PROMISES: Final[Mapping[int, str]] = {
    1: "what was accepted is not lost",
    2: "durability has a name",
    3: "an enqueue has three outcomes",
    4: "final once",
    5: "a crash costs one lease at most",
    6: "a slow handler keeps its lease",
    7: "crashes are not failures",
    8: "a graceful stop",
    9: "an outage is waited out",
    10: "bad input never vanishes",
    11: "no worker's clock decides",
    12: "memory is bounded",
    13: "full is an error, not a loss",
    14: "rolling upgrades",
    15: "the books are true",
}
OTHERS: Final = "the protocol itself"
WIDEST: Final = 1_000
"""So much of a line is printed; the JSON has all of it."""


class Result(StrEnum):
    """What became of a case."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Row(Struct, frozen=True, kw_only=True):
    """One case on one event loop."""

    case: str
    title: str
    promises: tuple[int, ...]
    level: Level
    result: Result
    detail: str = ""
    """Why it failed or was skipped, or what is to be known though it passed."""
    backend: str = "asyncio"
    took_ms: int = 0

    @classmethod
    def of(
        cls, case: Case, backend: str, result: Result, detail: str = "", took_ms: int = 0
    ) -> Row:
        """Make the row of a case."""
        return cls(
            case=case.id,
            title=case.title,
            promises=case.promises,
            level=case.level,
            result=result,
            detail=detail,
            backend=backend,
            took_ms=took_ms,
        )


class Report(Struct, frozen=True, kw_only=True):
    """A whole run, as it stands in the JSON file."""

    schema: int = SCHEMA
    kit: str
    """The version of the kit."""
    broker: str
    """The URL, without user and password."""
    capabilities: tuple[str, ...] = ()
    level: Level
    totals: Mapping[str, int]
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Tell whether something was shown and nothing failed."""
        return not self.totals[Result.FAILED] and self.totals[Result.PASSED] > 0

    def json(self) -> bytes:
        """Return the report as JSON, for other programs."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2)

    def badge(self) -> bytes:
        """Return JSON from which shields.io draws a badge (its `endpoint` schema)."""
        passed, failed = self.totals[Result.PASSED], self.totals[Result.FAILED]
        message = f"{self.level} {passed}/{passed + failed}"
        return msgspec.json.encode(
            {
                "schemaVersion": 1,
                "label": f"treadle {self.kit}",
                "message": message,
                "color": "brightgreen" if self.passed else "red",
            }
        )

    def table(self) -> str:
        """Return the table of promises and levels, then what failed and what was skipped."""
        return "\n".join([*self._head(), *self._promises(), *self._troubles()])

    def _head(self) -> list[str]:
        extras = ", ".join(self.capabilities) or "none"
        return [f"treadle conformance {self.kit}: {self.broker}", f"capabilities: {extras}", ""]

    def _promises(self) -> list[str]:
        levels = self.level.slices
        lines = [f"{'promise':<40}" + "".join(f"{level:>12}" for level in levels)]
        numbers = sorted({number for row in self.rows for number in row.promises})
        for number in numbers:
            rows = [row for row in self.rows if number in row.promises]
            lines.append(_line(f"{number:>2} {PROMISES.get(number, '')}", rows, levels))
        lines.append(_line(f" - {OTHERS}", [r for r in self.rows if not r.promises], levels))
        lines.append(_line("   every case", self.rows, levels))
        return lines

    def _troubles(self) -> list[str]:
        lines = [""]
        skipped: dict[str, set[str]] = {}
        for row in self.rows:
            if row.result is Result.FAILED:
                lines.append(
                    f"FAILED {row.case} {row.title} ({row.backend}){_several(row.promises)}"
                )
                lines += [f"    {_short(line)}" for line in row.detail.splitlines()]
            elif row.result is Result.SKIPPED:
                skipped.setdefault(row.detail, set()).add(row.case)
        lines += [f"skipped: {why}: {', '.join(sorted(ids))}" for why, ids in skipped.items()]
        counted = ", ".join(f"{count} {word}" for word, count in self.totals.items() if count)
        return [*lines, f"{counted or 'nothing was run'}."]


def _several(promises: Sequence[int]) -> str:
    """Say that one row counts in several lines of the table: not each of these promises is broken."""
    return f"; counts for {', '.join(map(str, promises))}" if len(promises) > 1 else ""


def _short(line: str) -> str:
    left = len(line) - WIDEST
    return line if left <= 0 else f"{line[:WIDEST]} … ({left:,} characters more: see --report)"


def _line(name: str, rows: Sequence[Row], levels: Sequence[Level]) -> str:
    return f"{name:<40}" + "".join(f"{_cell(rows, level):>12}" for level in levels)


def _cell(rows: Sequence[Row], level: Level) -> str:
    """Say how many of the rows of a level passed; what was skipped is no part of the sum."""
    counted = Counter(row.result for row in rows if row.level is level)
    ran = counted[Result.PASSED] + counted[Result.FAILED]
    if not ran:
        return "skipped" if counted[Result.SKIPPED] else "-"
    return f"{counted[Result.PASSED]}/{ran}" + ("" if not counted[Result.FAILED] else " FAIL")


def make_report(
    rows: Sequence[Row], *, broker: str, capabilities: Sequence[str], level: Level | str
) -> Report:
    """Make the report of a run."""
    counted = Counter(row.result for row in rows)
    return Report(
        kit=kit_version(),
        broker=broker,
        capabilities=tuple(sorted(capabilities)),
        level=Level(level),
        totals={str(result): counted[result] for result in Result},
        rows=tuple(rows),
    )


def kit_version() -> str:
    """Return the version of the installed kit."""
    try:
        return version("treadle")
    except PackageNotFoundError:
        return "unknown"
