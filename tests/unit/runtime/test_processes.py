"""Child processes: they can be killed, their deaths hurt nobody, and they are replaced."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from tests.support import children
from tests.support.attempts import Bench, bench, until
from tests.support.children import alive
from tests.support.source import ROOT
from treadle.broker.base import Lease
from treadle.domain.job import After
from treadle.domain.outcome import Failed, Lost, Outcome, Rejected, Snoozed, Succeeded
from treadle.errors import LeaseLost
from treadle.runtime.clock import SystemClock
from treadle.runtime.crew import Crew
from treadle.runtime.handlers import AnyHandler
from treadle.runtime.processes import DIED, UNBORN, ProcessPool
from treadle.runtime.registry import Registry
from treadle.runtime.solo import Alone
from treadle.runtime.threads import ThreadPool

pytestmark = pytest.mark.anyio

APP = "tests.support.children:registry"


def _result(outcome: Outcome) -> Any:
    assert isinstance(outcome, Succeeded), outcome
    return msgspec.json.decode(outcome.result or b"null")


def _failed(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


async def test_a_child_runs_one_job_after_the_other_and_not_in_this_process() -> None:
    async with bench() as tools:
        first = _result(await tools.run(children.pid, b'{"a":1}'))
        second = _result(await tools.run(children.pid, b'{"a":2}'))

    assert (first[0], second[0]) == (1, 2)
    assert first[1] == second[1] != os.getpid()
    assert not alive(first[1])


async def test_what_happens_in_a_child_is_the_outcome_here() -> None:
    async with bench() as tools:
        failed = _failed(await tools.run(children.fails, b'{"message":"no"}'))
        snoozed = await tools.run(children.snoozes)
        rejected = await tools.run(children.pid, b'{"a":"x"}')
        exited = _failed(await tools.run(children.dies, b'{"how":"SystemExit"}'))
        talked = await tools.run(children.talks, number=2)

        assert (failed.error.type, failed.error.message) == ("ValueError", "no")
        assert "children.py" in failed.error.traceback
        assert "builtins.ValueError" in failed.kinds
        assert snoozed == Snoozed(due=After(3_000))
        assert isinstance(rejected, Rejected)
        assert exited.error.type == "SystemExit"
        assert _result(talked) == ["job-1", 2]
        assert tools.notes.told == [b'{"done":1,"total":2,"note":"half"}']
        assert tools.notes.lines == ["attempt 2"]


@pytest.mark.promise(4)
async def test_what_an_attempt_left_behind_does_not_speak_for_the_next_one() -> None:
    async with bench() as tools:
        await tools.run(children.leaves_a_thread)
        other = tools.attempt(children.hears)
        other.lease = Lease("default", "job-2", 7)
        heard = _result(await children.hears.run(other))

    assert heard == ["LeaseLost"]
    assert (tools.notes.lines, tools.notes.told, tools.notes.stored) == (["own"], [], {})


@pytest.mark.promise(10)
@pytest.mark.parametrize(
    ("how", "says"),
    [("exit", "exit code 3"), ("kill", "SIGKILL"), ("segfault", "SIGSEGV")],
)
async def test_a_child_that_dies_fails_its_attempt_and_is_replaced(how: str, says: str) -> None:
    async with bench() as tools:
        failed = _failed(await tools.run(children.dies, msgspec.json.encode({"how": how})))
        after = await tools.run(children.pid, b'{"a":5}')

    assert failed.error.type == DIED
    assert says in failed.error.message
    assert _result(after)[0] == 5


async def test_a_child_that_starts_too_late_is_not_said_to_be_killed() -> None:
    async with ThreadPool(1) as threads, ProcessPool(1, start_s=0.001) as processes:
        failed = _failed(await Bench(threads, processes).run(children.pid))

    assert failed.error.type == UNBORN
    assert "longer than 0.001 s to start" in failed.error.message
    assert "SIGKILL" not in failed.error.message
    assert "Import less" in failed.error.message


@pytest.mark.promise(7)
async def test_a_suspect_whose_child_starts_too_late_was_not_tried() -> None:
    parts: dict[str, Any] = dict.fromkeys(("chain", "tools", "admit", "done"))
    crew = Crew(size=1, handlers={}, clock=SystemClock(), **parts)
    alone = Alone(APP, lambda: (crew, crew))
    vars(alone)["_children"] = ProcessPool(1, start_s=0.001)

    async with bench() as tools:
        outcome = await alone.run(tools.attempt(children.pid))

    assert isinstance(outcome, Lost)
    assert not outcome.started


async def test_a_child_that_died_while_idle_costs_no_attempt() -> None:
    async with bench() as tools:
        _, process = _result(await tools.run(children.pid))
        os.kill(process, 9)
        await until(lambda: not alive(process))

        assert _result(await tools.run(children.pid, b'{"a":1}'))[1] != process


async def test_a_cancelled_attempt_kills_its_child_and_what_that_started() -> None:
    async with bench() as tools:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tools.run, children.waits)
            await until(lambda: bool(tools.notes.lines))
            tasks.cancel_scope.cancel()
        pids = [int(text) for text in tools.notes.lines[0].split()]

        await until(lambda: not any(alive(process) for process in pids))
        assert _result(await tools.run(children.pid, b'{"a":1}'))[0] == 1


async def test_children_run_at_the_same_time_but_no_more_than_the_pool_has() -> None:
    seen: list[int] = []

    async def run(tools: Bench) -> None:
        seen.append(_result(await tools.run(children.pid))[1])

    async with bench(processes=2) as tools, anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(run, tools)

    assert len(seen) == 6
    assert len(set(seen)) <= 2


async def test_steps_of_a_child_are_stored_by_its_parent() -> None:
    async with bench() as tools:
        first = _result(await tools.run(children.steps, b'{"amount":5}'))
        again = _result(await tools.run(children.steps, b'{"amount":6}', number=2))

        assert first == again == [5, "db on file"]
        assert tools.notes.stored == {"charge": b"5"}


class _LostNotes:
    """Notes of an attempt whose lease is gone."""

    def progress(self, lease: Lease, data: bytes) -> None: ...

    def log(self, lease: Lease, text: str) -> None: ...

    async def step(self, lease: Lease, name: str, data: bytes) -> bytes:
        del data
        raise LeaseLost(f"step {name!r} of {lease.id} was not stored")

    async def steps(self, lease: Lease) -> dict[str, bytes]:
        del lease
        return {}


async def test_a_lost_lease_is_heard_in_the_child() -> None:
    async with bench() as tools:
        tools.tools.notes = _LostNotes()

        failed = _failed(await tools.run(children.steps, b'{"amount":5}'))

    assert (failed.error.type, failed.error.message) == (
        "LeaseLost",
        "step 'charge' of job-1 was not stored",
    )


async def test_a_child_runs_any_kind_of_handler() -> None:
    async with bench() as tools:
        attempt = tools.attempt(children.in_the_loop, b'{"amount":5}')
        outcome = await tools.tools.processes.run(attempt)
        own = await tools.tools.processes.run(tools.attempt(children.cancels_itself))

    amount, db, main_thread, process = _result(outcome)
    assert (amount, db, main_thread) == (5, "db on file", True)
    assert process != os.getpid()
    assert isinstance(own, Failed)


async def test_memory_and_processor_time_can_be_limited() -> None:
    async with ProcessPool(1, memory_mb=1_024, cpu_seconds=1) as pool, bench() as tools:
        eats = await pool.run(tools.attempt(children.eats))
        spins = await pool.run(tools.attempt(children.dies, b'{"how":"cpu"}'))

    assert _failed(eats).error.type == "MemoryError"
    assert "SIGXCPU" in _failed(spins).error.message or "SIGKILL" in _failed(spins).error.message


# Finding handlers


async def _run(handler: AnyHandler, app: str) -> Outcome:
    async with ProcessPool(1, app=app) as pool, bench() as tools:
        return await pool.run(tools.attempt(handler))


async def test_a_child_finds_a_handler_in_the_application_or_in_its_module() -> None:
    assert _result(await _run(children.pid, APP))
    assert _result(await _run(children.pid, ""))


async def test_a_handler_that_no_child_can_find_fails_and_says_what_to_do() -> None:
    @Registry().handler("hidden", run_in="process")
    def hidden() -> None: ...

    failed = _failed(await _run(hidden, ""))

    assert failed.give_up
    assert "finds no handler 'hidden': define it at the top of a module" in failed.error.message


async def test_an_application_that_cannot_be_imported_fails_the_attempt() -> None:
    error = _failed(await _run(children.pid, "no_such_module:jobs")).error

    assert error.type == "ModuleNotFoundError"
    assert error.message.startswith("importing no_such_module in a child process: No module named")


_SCRIPT = """
import os, anyio
from tests.support.attempts import bench
from treadle.runtime.registry import Registry
registry = Registry()

@registry.handler("where", run_in="process")
def where() -> int:
    return os.getpid()

async def main():
    async with bench() as tools:
        print(await tools.run(where), os.getpid())

if __name__ == "__main__":
    anyio.run(main)
"""


@pytest.mark.parametrize("how", [["script.py"], ["-m", "script"]])
async def test_handlers_of_the_main_script_are_found_too(
    how: Sequence[str], tmp_path: Path
) -> None:
    done = await _run_script(tmp_path, _SCRIPT, how)

    assert done.stdout.startswith("Succeeded(result=b'"), done.stderr


async def test_a_script_that_works_when_it_is_imported_is_told_so(tmp_path: Path) -> None:
    unguarded = _SCRIPT.replace('if __name__ == "__main__":', "if True:")

    done = await _run_script(tmp_path, unguarded, ["script.py"])

    assert done.stdout.startswith("Failed("), done.stderr
    assert "script.py in a child process: " in done.stdout
    assert "belongs under `if __name__ == '__main__':`" in done.stdout


async def _run_script(
    folder: Path, text: str, how: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(text)
    return await anyio.to_thread.run_sync(
        lambda: subprocess.run(
            [sys.executable, *how],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    )


async def test_tasks_that_a_handler_leaks_in_a_child_are_gone_for_the_next(
    anyio_backend: str,
) -> None:
    if anyio_backend == "trio":
        pytest.skip("only asyncio has tasks that outlive who made them")
    async with bench() as tools:
        pool = tools.tools.processes
        found = [_result(await pool.run(tools.attempt(children.leaks))) for _ in range(3)]

    assert found == [0, 0, 0]
