"""What the kit adds to pytest's command line, and the table at the end of a run.

The pytest plugin of the package calls these functions. A run that proves no broker pays nothing:
the kit itself is imported when it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from treadle.conformance.case import Level
    from treadle.conformance.report import Report
    from treadle.conformance.run import Finished
    from treadle.conformance.suite import BrokerConformance

_Seen = dict["type[BrokerConformance]", list[tuple[str, "Finished"]]]
_SEEN: pytest.StashKey[_Seen] = pytest.StashKey()
"""What was run, by the class that ran it, with the URL of the broker."""


def register(parser: pytest.Parser) -> None:
    """Add the options of the kit, and let a failed assertion of a case show its values."""
    pytest.register_assert_rewrite("treadle.conformance.cases", "treadle.conformance.hand")
    group = parser.getgroup("treadle", "Treadle's conformance kit")
    group.addoption(
        "--broker",
        metavar="URL",
        help="the broker that `pytest --pyargs treadle.conformance` proves: each case gets a"
        " namespace of its own there, which is erased afterwards",
    )
    group.addoption(
        "--broker-level",
        choices=("core", "flow", "push"),
        help="which cases are run; each level contains those before it (default: push)",
    )
    group.addoption(
        "--broker-report",
        metavar="FILE",
        help="write what was found as JSON; of several brokers into several files, numbered",
    )


def chosen_level(config: pytest.Config) -> Level | None:
    """Return the level that the command line names."""
    from treadle.conformance.case import Level  # noqa: PLC0415 - only for who uses the kit

    level: str | None = config.getoption("--broker-level", default=None)
    return None if level is None else Level(level)


def broker_url(config: pytest.Config) -> str:
    """Return the URL that the command line names.

    Raises:
        pytest.UsageError: if it names none.
    """
    url: str | None = config.getoption("--broker", default=None)
    if url is None:
        raise pytest.UsageError("say which broker shall be proven: --broker acme://host/...")
    return url


def remember(
    config: pytest.Config, suite: type[BrokerConformance], url: str, finished: Finished
) -> None:
    """Keep what became of a case for the table at the end of the run."""
    config.stash.setdefault(_SEEN, {}).setdefault(suite, []).append((url, finished))


def summary(config: pytest.Config) -> Iterator[str]:
    """Write the reports that were asked for; return the lines of a table for each broker."""
    file: str | None = config.getoption("--broker-report", default=None)
    if file is None and config.getoption("--broker", default=None) is None:
        return
    for number, report in enumerate(_reports(config)):
        yield from report.table().splitlines()
        if file is not None:
            path = Path(file)
            path = path.with_stem(f"{path.stem}-{number}") if number else path
            path.write_bytes(report.json())
            yield f"written: {path}"


def _reports(config: pytest.Config) -> Iterator[Report]:
    from treadle.conformance.report import make_report  # noqa: PLC0415 - only for who uses the kit

    if _SEEN not in config.stash:
        return
    for suite, seen in config.stash[_SEEN].items():
        capabilities = {str(each) for _, finished in seen for each in finished.capabilities}
        yield make_report(
            [finished.row for _, finished in seen],
            broker=seen[0][0],
            capabilities=sorted(capabilities),
            level=chosen_level(config) or suite.level,
        )
