"""Contract rows about what is shared between threads, and about needing nothing else to start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import threading
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.adapters import Adapter
from treadle import Jobs
from treadle.cli.demo import app as demo
from treadle.conformance.clock import MovableClock
from treadle.settings import Settings

ROOT = Path(__file__).parents[2]
ACTIONS = st.lists(st.sampled_from(["enqueue", "many", "same", "cancel"]), min_size=1, max_size=6)


@pytest.mark.contract("F07")
@given(plans=st.lists(ACTIONS, min_size=4, max_size=8))
@settings(max_examples=6)
def test_many_threads_on_one_application_see_one_consistent_store(
    adapter: Adapter, tmp_path_factory: pytest.TempPathFactory, plans: list[list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    url = "memory://" if adapter.name == "memory" else f"sqlite:///{folder}/jobs.db"
    clock = MovableClock()
    clock.run()
    jobs = Jobs(url, settings=Settings(), clock=clock)
    ready = threading.Barrier(len(plans))

    @jobs.handler("work")
    async def work(number: int) -> None: ...

    def follow(number: int) -> tuple[list[str], list[str]]:
        """Do what the plan says; return the ids that shall wait, and those that were cancelled."""
        waiting: list[str] = []
        cancelled: list[str] = []
        ready.wait(10)
        for action in plans[number]:
            if action == "enqueue":
                waiting.append(work.enqueue_sync(number).id)
            elif action == "many":
                waiting += [job.id for job in work.enqueue_many_sync([{"number": number}] * 3)]
            elif action == "same":
                waiting.append(work.options(id="shared").enqueue_sync(number).id)
            else:
                job = work.enqueue_sync(number)
                job.cancel_sync()
                cancelled.append(job.id)
        return waiting, cancelled

    with ThreadPoolExecutor(len(plans)) as threads:
        done = list(threads.map(follow, range(len(plans))))
    waiting = {id for ids, _ in done for id in ids}
    cancelled = {id for _, ids in done for id in ids}
    states = Counter(jobs.get_sync(id).state.name for id in waiting | cancelled)
    jobs.close_sync()

    told = [id for ids, _ in done for id in ids if id != "shared"]
    assert len(told) == len(set(told)), "two threads were told the same id"
    assert states["QUEUED"] == len(waiting)
    assert states["CANCELLED"] == len(cancelled)


ALONE = textwrap.dedent(
    """
    import socket

    from treadle import Jobs

    def refuse(*args):
        raise AssertionError("somebody wants a server")

    socket.socket.connect = socket.create_connection = refuse
    jobs = Jobs()

    @jobs.handler("hello")
    async def hello(name: str) -> str:
        return f"hello {name}"

    if __name__ == "__main__":
        import anyio

        async def main():
            async with jobs:
                job = await hello.enqueue("ada")
                await jobs.worker(burst=True).run()
                print(await job.result(timeout=300))

        anyio.run(main)
    """
)
SERVERS = re.compile(r"redis|valkey|nats|psycopg|asyncpg|pymongo|kombu|boto", re.IGNORECASE)


@pytest.mark.contract("F09")
def test_an_empty_folder_and_no_server_are_enough_to_run_a_job(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text(ALONE)

    done = subprocess.run(
        [sys.executable, "hello.py"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "hello ada\n"), done.stderr
    assert (tmp_path / ".treadle" / "jobs.db").exists()


@pytest.mark.contract("F09")
def test_the_first_command_of_the_readme_installs_no_client_of_a_server() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    first = readme.partition("```sh\n")[2].partition("\n")[0]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert first == (
        "python3 -m venv .venv && .venv/bin/pip install -q -e . && .venv/bin/qrun demo"
    )
    assert [name for name in project["dependencies"] if SERVERS.match(name)] == []


@pytest.mark.contract("F15")
def test_the_demo_brings_its_own_handlers_for_the_ten_types_of_the_examples() -> None:
    lines = (ROOT / "examples" / "jobs.jsonl").read_text(encoding="utf-8").splitlines()
    types = {match[1] for line in lines if (match := re.search(r'"type":\s*"([^"]+)"', line))}

    assert len(types) == 10
    assert types <= demo.jobs.handlers.keys()
