"""The pytest plugin: options and fixtures. It imports what they need when they are used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from treadle.conformance import options

if TYPE_CHECKING:
    from treadle.testing.fleet import Fleet
    from treadle.testing.jobs_test import JobsTest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--sim-seed`, and the options of the conformance kit."""
    parser.getgroup("treadle", "Treadle").addoption(
        "--sim-seed",
        type=int,
        metavar="N",
        help="without files: run the seed N of Treadle's own simulation and print its trace;"
        " with files: the seed of their `fleet`",
    )
    options.register(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Run one seed of the simulation instead of tests, if that is what was asked for."""
    seed: int | None = config.getoption("--sim-seed")
    if seed is None or config.getoption("file_or_dir"):
        return None
    from treadle.testing.sim.__main__ import main  # noqa: PLC0415 - only for who asks for it

    try:
        main(["--seed", str(seed)])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print what the conformance kit found."""
    for line in options.summary(config):
        terminalreporter.write_line(line)


@pytest.fixture
def jobs_test() -> Iterator[JobsTest]:
    """Run the jobs of a test in memory, on a clock that the test moves: `jobs_test.use(jobs)` first."""
    from treadle.testing.jobs_test import JobsTest  # noqa: PLC0415 - only for who uses it

    with JobsTest() as jobs_test:
        yield jobs_test


@pytest.fixture
def fleet(pytestconfig: pytest.Config) -> Fleet:
    """Run an application's jobs on simulated workers that crash: `fleet(jobs, enqueue, crashes=20)`."""
    from treadle.testing.fleet import Fleet  # noqa: PLC0415 - only for who uses it

    seed: int | None = pytestconfig.getoption("--sim-seed")
    return Fleet(seed=0 if seed is None else seed)
