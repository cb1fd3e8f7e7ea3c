"""The processes under `qrun worker --processes`: what each is told, and what it is not."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Qrun
from tests.support.factories import make_job

APP = '''
from pathlib import Path

from treadle import Context, Jobs

jobs = Jobs()


@jobs.handler("tell", retry=0)
async def tell(ctx: Context) -> list[str]:
    """Say how this process was started."""
    return Path("/proc/self/cmdline").read_text().split("\\0")
'''


@pytest.fixture
def told(qrun: Qrun) -> Qrun:
    """Give a folder with an app that tells how it was started."""
    qrun.write("jobs.py", APP)
    return qrun


def _words(qrun: Qrun, id: str) -> list[str]:
    (row,) = qrun("jobs", "show", id, "--json").objects
    words: list[str] = row["result"]
    return words


def test_a_url_of_the_environment_stands_on_no_command_line(told: Qrun) -> None:
    told.enqueue(make_job(id="a", type="tell"))

    ran = told.process("worker", "--burst", "--processes", "1")

    assert ran.code == 0, ran.err
    assert "--url" not in _words(told, "a"), "it may hold a password"


def test_a_url_that_stood_on_a_command_line_is_passed_on(told: Qrun) -> None:
    told.enqueue(make_job(id="a", type="tell"))

    ran = told.process(
        "worker", "--burst", "--processes", "1", "--url", told.url, QRUN_URL="memory://"
    )

    assert ran.code == 0, ran.err
    words = _words(told, "a")
    assert words[words.index("--url") + 1] == told.url


def test_children_serve_the_weighted_queues_and_no_other(told: Qrun) -> None:
    told.enqueue(*(make_job(id=name, type="tell", queue=name) for name in ("high", "low", "other")))

    ran = told.process("worker", "--burst", "--processes", "1", "--weights", "high=3,low=1")

    assert ran.code == 0, ran.err
    assert told.states() == {"high": "succeeded", "low": "succeeded", "other": "queued"}
    words = _words(told, "high")
    assert words[words.index("--weights") + 1] == "high=3,low=1"


@pytest.mark.parametrize(("count", "name"), [("1", "one"), ("2", "one-1")])
def test_a_single_child_bears_the_name_that_was_given(told: Qrun, count: str, name: str) -> None:
    told.enqueue(make_job(id="a", type="tell"))

    ran = told.process("worker", "--burst", "--processes", count, "--name", "one")

    assert ran.code == 0, ran.err
    words = _words(told, "a")
    given = words[words.index("--name") + 1]
    assert given == name or (count == "2" and given == "one-2")
