"""The kit as an author uses it: an installed package, pytest, and a URL or a class of a few lines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from treadle.conformance import Subject, report_on
from treadle.conformance.case import Level
from treadle.conformance.report import SCHEMA, Report, Result, Row

AUTHOR = """
import pytest
from treadle.broker.memory import MemoryBroker
from treadle.conformance import BrokerConformance, Subject

class Pausing(MemoryBroker):
    async def pause(self, queue, paused):
        await super().pause(queue, True)

class TestAcme(BrokerConformance):
    level = "core"
    backends = ("asyncio",)

    @pytest.fixture
    def subject(self):
        return Subject("memory://acme", make=Pausing)
"""


def run(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run pytest as an author does, far from this repository."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", *args]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )


def row(**over: object) -> Row:
    """Make a row of which only what is given matters."""
    values: dict[str, object] = {
        "case": "C201",
        "title": "a claimed job runs for the session",
        "promises": (4,),
        "level": Level.CORE,
        "result": Result.PASSED,
    }
    return msgspec.convert(values | over, Row)


def test_a_url_is_enough_to_prove_a_broker(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"

    done = run(
        tmp_path,
        *("--pyargs", "treadle.conformance", "--broker", url, "-k", "C201 or C225"),
        *("--broker-level", "core", "--broker-report", "report.json"),
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "final once" in done.stdout
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert (report["schema"], report["broker"], report["level"]) == (SCHEMA, url, "core")
    assert {found["case"] for found in report["rows"]} == {"C201", "C225"}
    assert list(tmp_path.glob("jobs*")) == [], "the namespaces were not erased"


def test_without_a_url_it_says_what_is_missing(tmp_path: Path) -> None:
    done = run(tmp_path, "--pyargs", "treadle.conformance")

    assert done.returncode == 2
    assert "--broker acme://" in done.stdout


def test_a_class_of_a_few_lines_finds_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "test_acme.py").write_text(AUTHOR, encoding="utf-8")

    done = run(tmp_path, "test_acme.py", "-k", "C222 or C223 or C224")

    assert done.returncode == 1
    assert "1 failed, 2 passed" in done.stdout
    assert "C222 a paused queue gives nothing until it is resumed" in done.stdout


def test_a_class_without_a_subject_says_what_to_write(tmp_path: Path) -> None:
    text = AUTHOR.replace("def subject", "def broker")
    (tmp_path / "test_acme.py").write_text(text, encoding="utf-8")

    done = run(tmp_path, "test_acme.py", "-k", "C222")

    assert done.returncode == 1
    assert "TestAcme does not say which broker shall be proven: override the fixture" in done.stdout
    assert "Traceback" not in done.stdout


def test_pytest_without_the_kit_loads_none_of_it(tmp_path: Path) -> None:
    program = (
        "import sys, pytest; pytest.main(['--co', '-q'])\n"
        "print([name for name in sys.modules if name.startswith('treadle.conformance.c')])\n"
        "print('anyio.to_thread' in sys.modules and 'treadle.plugins' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )

    assert done.stdout.splitlines()[-2:] == ["[]", "False"]


def test_a_report_hides_user_and_password() -> None:
    subject = Subject("memory://ada:secret@host")

    report = report_on(subject, [row()], "core")

    assert "secret" not in report.json().decode() + report.table()
    assert report.broker == "memory://***@host"


def test_a_report_can_be_read_back() -> None:
    report = report_on(Subject("memory://"), [row(), row(case="C202")], "core")

    assert msgspec.json.decode(report.json(), type=Report) == report
    assert report.totals == {"passed": 2, "failed": 0, "skipped": 0}


@pytest.mark.parametrize(
    ("result", "color", "message"),
    [(Result.PASSED, "brightgreen", "core 1/1"), (Result.FAILED, "red", "core 0/1")],
)
def test_a_badge_says_how_much_was_passed(result: Result, color: str, message: str) -> None:
    badge = json.loads(report_on(Subject("memory://"), [row(result=result)], "core").badge())

    assert (badge["schemaVersion"], badge["color"], badge["message"]) == (1, color, message)


def test_the_cases_explain_themselves_without_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_acme.py").write_text(AUTHOR, encoding="utf-8")
    program = (
        "import anyio, functools, test_acme, treadle.conformance as kit\n"
        "subject = kit.Subject('memory://', make=test_acme.Pausing)\n"
        "run = functools.partial(kit.run_cases, subject, backends=['asyncio'], ids=['C549'])\n"
        "print(kit.report_on(subject, anyio.run(run), 'core').table())"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )

    assert "FAILED C549 a paused queue says so (asyncio)" in done.stdout
    assert "stats.py:" in done.stdout


def test_without_assertions_nothing_is_claimed_to_be_proven(tmp_path: Path) -> None:
    program = "from treadle.conformance import cases_of; cases_of()"

    done = subprocess.run(
        [sys.executable, "-O", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 1
    assert "start Python without -O" in done.stderr
