"""`qrun verify` against brokers that keep their promises, and against some that do not."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from tests.cli.conftest import Qrun

INSTALL = 'pip install "treadle[conformance]"'

BROKEN = """
    import anyio

    from treadle import hookimpl
    from treadle.broker.memory import MemoryBroker

    class Broken(MemoryBroker):
        async def claim(self, session, queues, limit, wait_ms=0):
            claimed = await super().claim(session, queues, limit, wait_ms)
            return type(claimed)(now=claimed.now, records=list(reversed(claimed.records)))

        async def describe(self):
            await anyio.sleep_forever()

    class Unreachable(MemoryBroker):
        async def connect(self):
            await anyio.sleep_forever()

    @hookimpl
    def treadle_broker(url, clock):
        return (Unreachable if url.host == "nowhere" else Broken)(url, clock)
"""


@pytest.fixture
def broken(qrun: Qrun) -> dict[str, str]:
    """Install a broker for `broken://` that claims in the wrong order, and hangs in `describe`."""
    home = qrun.folder / "installed"
    info = home / "treadle_broken-0.1.0.dist-info"
    info.mkdir(parents=True)
    (home / "treadle_broken.py").write_text(dedent(BROKEN))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: treadle-broken\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[treadle.brokers]\nbroken = treadle_broken\n")
    return {"PYTHONPATH": str(home)}


@pytest.mark.proof
def test_a_broker_that_keeps_its_promises_passes(qrun: Qrun) -> None:
    ran = qrun("verify", "memory://", "--examples", "20", "--backend", "asyncio")

    assert ran.code == 0
    first, *_, last = ran.out.splitlines()
    assert first.endswith("memory://")
    assert last.endswith("passed.")
    assert "failed" not in last


def test_a_few_cases_can_be_chosen(qrun: Qrun) -> None:
    ran = qrun("verify", "memory://", "--only", "C541", "--only", "leaks", "--json")

    *rows, total = ran.objects
    assert [row["case"] for row in rows] == ["C541", "C541", "leaks"]
    assert {row["backend"] for row in rows} == {"asyncio", "trio"}
    assert total["passed"]
    assert total["totals"] == {"passed": 3, "failed": 0, "skipped": 0}


def test_a_case_that_there_is_not_is_refused(qrun: Qrun) -> None:
    ran = qrun("verify", "memory://", "--only", "C07")

    assert ran.code == 2
    assert "there is no case C07" in ran.err


def test_a_store_is_as_empty_as_before(qrun: Qrun) -> None:
    place = qrun.folder / "store"
    place.mkdir()

    ran = qrun("verify", f"sqlite:///{place}/jobs.db", "--only", "C541", "--only", "faults")

    assert ran.code == 0
    assert list(place.iterdir()) == []


def test_without_a_url_it_is_the_broker_of_the_settings(qrun: Qrun) -> None:
    ran = qrun("verify", "--only", "C541", "--json")

    assert ran.objects[-1]["broker"] == qrun.url


def test_the_report_and_the_badge_are_written(qrun: Qrun) -> None:
    report, badge = qrun.folder / "report.json", qrun.folder / "badge.json"

    qrun("verify", "memory://", "--only", "C541", "--report", str(report), "--badge", str(badge))

    assert json.loads(report.read_text())["totals"]["passed"] == 2
    assert json.loads(badge.read_text())["message"] == "push 2/2"


@pytest.mark.proof
def test_programs_go_on_where_they_were_broken_off(qrun: Qrun) -> None:
    options = ("verify", "memory://", "--only", "machine", "--resume", "state.json", "--json")
    first = qrun(*options, "--examples", "250")
    again = qrun(*options, "--examples", "250")

    assert json.loads((qrun.folder / "state.json").read_text())["done"] == 1
    assert first.objects[0]["result"] == again.objects[0]["result"] == "passed"
    assert "machine: goes on behind 250 of 250 examples" in again.err
    other = qrun(*options, "--examples", "250", "--seed", "7")
    assert other.code == 2
    assert "belongs to another run" in other.err


def test_brokers_that_answer_alike_pass_the_comparison(qrun: Qrun) -> None:
    urls = f"memory://,sqlite:///{qrun.folder}/jobs.db"

    ran = qrun("verify", "--differential", urls, "--examples", "10", "--json")

    row, total = ran.objects
    assert (row["case"], row["result"], ran.code) == ("differential", "passed", 0)
    assert total["broker"] == "memory://, " + urls.split(",")[1]


def test_a_comparison_needs_two(qrun: Qrun) -> None:
    ran = qrun("verify", "--differential", "memory://")

    assert ran.code == 2
    assert "name at least two" in ran.err


def test_brokers_that_differ_fail_with_a_program_to_replay(
    qrun: Qrun, broken: dict[str, str]
) -> None:
    options = ("--differential", "memory://,broken://", "--examples", "200", "--json")
    ran = qrun.process("verify", *options, timeout=240, **broken)

    row, _ = ran.objects
    assert (ran.code, row["result"]) == (1, "failed")
    (script,) = (qrun.folder / ".treadle" / "verify").iterdir()
    assert f"replay: python .treadle/verify/{script.name} URL" in row["detail"]


def test_what_failed_is_told_with_the_way_to_see_it_again(
    qrun: Qrun, broken: dict[str, str]
) -> None:
    options = ("--only", "machine", "--examples", "200")
    ran = qrun.process("verify", "broken://", *options, timeout=240, **broken)

    assert ran.code == 1
    assert "FAILED machine" in ran.out
    assert "again: qrun verify 'broken://' --only machine --backend asyncio" in ran.err


@pytest.mark.proof
def test_a_broker_that_hangs_gives_a_row(qrun: Qrun, broken: dict[str, str]) -> None:
    options = ("--only", "C821", "--backend", "asyncio", "--json")
    ran = qrun.process("verify", "broken://", *options, timeout=240, **broken)

    row, _ = ran.objects
    assert (ran.code, row["result"]) == (1, "failed")
    assert "did not end in 10 s" in row["detail"]


@pytest.mark.proof
def test_a_broker_that_never_connects_fails_and_holds_up_nobody(
    qrun: Qrun, broken: dict[str, str]
) -> None:
    options = ("--only", "machine", "--only", "leaks", "--json")
    ran = qrun.process("verify", "broken://nowhere", *options, timeout=240, **broken)

    *rows, total = ran.objects
    assert {row["result"] for row in rows} == {"failed"}
    assert "did not connect" in rows[0]["detail"]
    assert (ran.code, total["passed"]) == (1, False)


def test_a_broker_that_cannot_be_reached_ends_with_4(qrun: Qrun) -> None:
    file = qrun.write("file", "not a folder")

    assert qrun("verify", f"sqlite:///{file}/jobs.db").code == 4


def test_a_scheme_that_nobody_supplies_ends_with_5(qrun: Qrun) -> None:
    assert qrun("verify", "nowhere://").code == 5


def test_without_hypothesis_it_says_what_to_install(qrun: Qrun, tmp_path: Path) -> None:
    stub = tmp_path / "without"
    stub.mkdir()
    (stub / "hypothesis.py").write_text("raise ImportError('not here')\n")

    refused = qrun.process("verify", "memory://", PYTHONPATH=str(stub))
    served = qrun.process(
        "verify", "memory://", "--examples", "0", "--only", "C541", PYTHONPATH=str(stub)
    )

    assert refused.code == 5
    assert INSTALL in refused.err
    assert served.code == 0
