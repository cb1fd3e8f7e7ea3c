"""`qrun new`: what it writes can be installed, and passes what it brings, without a change."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from textwrap import dedent

import pytest

from tests.cli.conftest import Qrun
from tests.support.source import ROOT

MOST_LINES = 400


class Package:
    """A package that was written and installed."""

    def __init__(self, qrun: Qrun, kind: str, name: str) -> None:
        ran = qrun("new", kind, name, "--into", str(qrun.folder))
        assert ran.code == 0, ran.err
        self.folder = qrun.folder / f"treadle-{name}"
        self._home = qrun.folder / "installed"
        # Its dependencies are there: this very checkout, and what the tests use.
        # A wheel holds a package as it is installed; not every environment of tests has pip.
        self._run("hatchling", "build", "-t", "wheel", "-d", str(qrun.folder / "dist"))
        (wheel,) = (qrun.folder / "dist").glob("*.whl")
        zipfile.ZipFile(wheel).extractall(self._home)

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment in which it is installed."""
        return {"PYTHONPATH": str(self._home)}

    def test(self, *options: str) -> str:
        """Run its own tests and return what they print."""
        return self._run("pytest", "-q", "-p", "no:cacheprovider", *options)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.mark.proof
def test_a_new_broker_passes_its_own_tests(qrun: Qrun) -> None:
    package = Package(qrun, "broker", "acme")

    told = package.test("-k", "C8 or C24", "--broker-report", "report.json")

    assert " passed" in told
    assert "failed" not in told
    assert (package.folder / "report.json").exists()


@pytest.mark.proof
@pytest.mark.timeout(1_200)
def test_a_new_broker_passes_the_whole_proof(qrun: Qrun) -> None:
    package = Package(qrun, "broker", "my-store")
    url = f"my-store:///{qrun.folder}/store"

    ran = qrun.process(
        "verify", url, "--examples", "30", "--backend", "asyncio", "--json",
        timeout=1_000, **package.environment,
    )  # fmt: skip

    *rows, total = ran.objects
    assert [row for row in rows if row["result"] == "failed"] == []
    assert (ran.code, total["capabilities"]) == (0, ["durable", "fused", "shared"])
    (raced,) = [row for row in rows if row["case"] == "concurrency"]
    assert "in processes" in raced["detail"]
    assert list((qrun.folder / "store").iterdir()) == []


@pytest.mark.proof
def test_a_new_broker_is_short_typed_and_formatted(qrun: Qrun) -> None:
    folder = Package(qrun, "broker", "acme").folder
    lines = [line for file in folder.rglob("src/**/*.py") for line in file.read_text().splitlines()]
    tool = [sys.executable, "-m", "ruff"]
    config = ["--no-cache", "--config", str(ROOT / "pyproject.toml"), str(folder)]

    assert len(lines) < MOST_LINES
    for command in ([*tool, "check"], [*tool, "format", "--check"]):
        done = subprocess.run([*command, *config], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


PRODUCER = """
    import anyio
    from treadle import Jobs
    from treadle.domain.job import Job

    async def main():
        async with Jobs("{url}") as jobs:
            broker = await jobs.client.broker()
            for number in range(100_000):
                await broker.enqueue([Job(id=str(number), type="work")])
                print(number, flush=True)

    anyio.run(main)
"""


@pytest.mark.proof
def test_a_new_broker_keeps_what_it_accepted_though_it_is_killed(qrun: Qrun) -> None:
    package = Package(qrun, "broker", "acme")
    url = f"acme:///{qrun.folder}/store"
    program = dedent(PRODUCER).format(url=url)
    environment = {**os.environ, **package.environment}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 200:
            continue
        process.send_signal(signal.SIGKILL)
        told = [200, *(int(line) for line in process.stdout if line.endswith("\n"))]
    tear(next((qrun.folder / "store").glob("*.journal")))

    listed = qrun.process(
        "queues", "list", "--json", "--url", url, timeout=240, **package.environment
    )

    (queue,) = listed.objects
    assert queue["waiting"] >= told[-1] + 1


def tear(journal: Path) -> None:
    """Leave half a frame at the end, as a process does that dies while it writes."""
    with journal.open("ab") as file:
        file.write(journal.read_bytes()[:20])


@pytest.mark.proof
@pytest.mark.parametrize("kind", ["handler", "middleware"])
def test_a_new_plugin_passes_its_own_tests(qrun: Qrun, kind: str) -> None:
    package = Package(qrun, kind, "my-plugin")

    assert "1 passed" in package.test()


@pytest.mark.parametrize("name", ["Acme", "my_store", "9lives", "a/b", "", "a--b"])
def test_a_name_that_cannot_be_one_is_refused(qrun: Qrun, name: str) -> None:
    ran = qrun("new", "broker", name)

    assert ran.code == 2
    assert "is no name for a package" in ran.err


def test_a_scheme_of_ours_is_refused(qrun: Qrun) -> None:
    ran = qrun("new", "broker", "sqlite")

    assert ran.code == 2
    assert "belongs to Treadle" in ran.err


def test_nothing_is_written_over(qrun: Qrun) -> None:
    qrun("new", "handler", "acme")

    ran = qrun("new", "middleware", "acme")

    assert ran.code == 2
    assert "is there already" in ran.err
