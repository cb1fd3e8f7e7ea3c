"""`qrun worker` and `qrun wait` as real processes."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Qrun
from tests.support.factories import make_job
from treadle.domain.job import Policy

SLOW_APP = '''
from pathlib import Path

import anyio

from treadle import Context, Jobs

jobs = Jobs()


@jobs.handler("slow", retry=0)
async def slow(ctx: Context, mark: str, seconds: float) -> str:
    """Say that it began, work, and say how far it is."""
    ctx.progress(1, 2, "half")
    Path(mark).touch()
    await anyio.sleep(seconds)
    return "done"
'''

SLOW_END = """
import atexit
import time
from pathlib import Path

from jobs import jobs


def flush(seconds: float) -> None:
    time.sleep(seconds)
    Path("flushed").touch()


atexit.register(flush, {seconds})
"""


def _send(qrun: Qrun, *people: str) -> None:
    lines = [
        json.dumps({"type": "email.send", "payload": {"to": name}, "id": name}) for name in people
    ]
    ran = qrun("enqueue", "--file", "-", input="\n".join(lines))
    assert ran.code == 0, ran.err


def test_a_burst_runs_what_is_due_and_ends(with_app: Qrun) -> None:
    _send(with_app, "ada", "bob")

    ran = with_app.process("worker", "--burst")

    assert ran.code == 0
    assert with_app.states() == {"ada": "succeeded", "bob": "succeeded"}
    for word in ("treadle", "jobs:jobs", "sqlite", "power-loss", "default", "email.send"):
        assert word in ran.out


@pytest.mark.contract("F17")
def test_each_job_leaves_a_line_of_json_with_its_id_and_status(with_app: Qrun) -> None:
    _send(with_app, "ada", "nobody")

    ran = with_app.process("worker", "--burst", "--quiet")

    lines = {
        line["job_id"]: line for line in map(json.loads, ran.err.splitlines()) if "job_id" in line
    }
    assert ran.out == ""
    assert lines["ada"]["status"] == "succeeded"
    assert lines["nobody"]["status"] == "failed"


STOPPED_APP = '''
"""An app whose handlers are stopped, and whose middleware changes its mind."""

import time

import anyio

from treadle import Attempt, Jobs, Next, Outcome

jobs = Jobs()


async def stern(attempt: Attempt, call_next: Next) -> Outcome:
    outcome = await call_next(attempt)
    if attempt.job.type == "forbidden":
        raise ValueError("the middleware forbids it")
    return outcome


jobs.use(stern)


@jobs.handler("slow", retry=0, timeout=0.1)
async def slow() -> None:
    await anyio.sleep(600)


@jobs.handler("child", retry=0, timeout=0.1, run_in="process")
def child() -> None:
    time.sleep(600)


@jobs.handler("cancels", retry=0)
async def cancels() -> None:
    job = await jobs.get("job-cancels")
    await job.cancel()
    await anyio.sleep(600)


@jobs.handler("forbidden", retry=0)
async def forbidden() -> None: ...
'''


@pytest.mark.contract("F17")
def test_a_job_that_was_stopped_leaves_a_line_too_and_each_tells_how_the_job_ended(
    qrun: Qrun,
) -> None:
    qrun.write("jobs.py", STOPPED_APP)
    options = {"slow": 100, "child": 100, "cancels": 0, "forbidden": 0}
    for type, limit in options.items():
        policy = Policy(max_attempts=1, timeout_ms=limit)
        qrun.enqueue(make_job(id=f"job-{type}", type=type, payload=b"{}", policy=policy))

    ran = qrun.process("worker", "--burst", "--quiet", "--log-format", "json", "--lease", "3s")

    lines = [json.loads(line) for line in ran.err.splitlines()]
    ended = {line["job_id"]: line for line in lines if line["event"] == "job_ended"}
    assert {id: line["status"] for id, line in ended.items()} == {
        "job-slow": "failed",
        "job-child": "failed",
        "job-cancels": "cancelled",
        "job-forbidden": "failed",
    }
    assert "longer than its time limit" in ended["job-slow"]["error"]
    assert "longer than its time limit" in ended["job-child"]["error"]
    assert "the middleware forbids it" in ended["job-forbidden"]["error"]


TALKING_APP = '''
"""An app whose handlers and libraries log."""

import logging

from treadle import Jobs

jobs = Jobs()
log = logging.getLogger("shop")


@jobs.handler("here")
async def here() -> None:
    log.info("in the loop")


@jobs.handler("thread")
def in_thread() -> None:
    log.warning("in a thread", extra={"type": "of its own", "url": "x://ada:sesame@host"})


@jobs.handler("process", run_in="process")
def in_process() -> None:
    log.info("in a process")
    log.debug("too much")


@jobs.handler("kept")
async def returns() -> object:
    return object()
'''


@pytest.mark.contract("F17")
def test_every_line_that_is_written_in_a_job_names_it(qrun: Qrun) -> None:
    qrun.write("jobs.py", TALKING_APP)
    for type in ("here", "thread", "process", "kept"):
        qrun.enqueue(make_job(id=f"job-{type}", type=type, payload=b"{}"))

    ran = qrun.process("worker", "--burst", "--quiet", "--log-format", "json")

    lines = [json.loads(line) for line in ran.err.splitlines()]
    said = {line["event"]: line for line in lines if line["event"] != "job_ended"}
    names = ("job_id", "type", "queue", "attempt", "status")
    assert [said["in the loop"][name] for name in names] == [
        *("job-here", "here", "default", 1, "running")
    ]
    assert [said["in a thread"][name] for name in names] == [
        *("job-thread", "of its own", "default", 1, "running")
    ]
    assert [said["in a process"][name] for name in names] == [
        *("job-process", "process", "default", 1, "running")
    ]
    assert "too much" not in said
    assert said["result_unserialisable"]["job_id"] == "job-kept"
    assert "sesame" not in ran.err
    ended = {line["job_id"]: line["status"] for line in lines if line["event"] == "job_ended"}
    assert ended == dict.fromkeys(
        ["job-here", "job-thread", "job-process", "job-kept"], "succeeded"
    )
    assert all("job_id" not in line for line in lines if line["logger"] == "treadle.worker")


def test_no_payload_and_no_result_is_logged(with_app: Qrun) -> None:
    with_app.enqueue(
        make_job(id="good", payload=b'{"to":"sesame"}'),
        make_job(id="odd", payload=b'{"to":["sesame"]}'),
    )

    ran = with_app.process("worker", "--burst", "--log-level", "debug")

    assert with_app.states() == {"good": "succeeded", "odd": "dead"}
    assert "good" in ran.err
    assert "sesame" not in ran.out + ran.err


def test_a_burst_ends_with_1_if_jobs_failed_and_that_was_asked(with_app: Qrun) -> None:
    _send(with_app, "nobody")
    plain = with_app.process("worker", "--burst")
    with_app("dead", "retry", "--all")

    asked = with_app.process("worker", "--burst", "--fail")

    assert (plain.code, asked.code) == (0, 1)


def test_exit_hooks_get_the_time_that_they_need(with_app: Qrun) -> None:
    _send(with_app, "nobody")
    with_app.write("slow.py", SLOW_END.format(seconds=1))

    ran = with_app.process("worker", "slow:jobs", "--burst", "--fail")

    assert ran.code == 1, ran.err
    assert (with_app.folder / "flushed").exists()
    assert "ended_by_force" not in ran.err


def test_a_process_whose_exit_hooks_hang_is_ended_with_its_exit_code(with_app: Qrun) -> None:
    _send(with_app, "nobody")
    with_app.write("slow.py", SLOW_END.format(seconds=3_600))

    ran = with_app.process("worker", "slow:jobs", "--burst", "--fail")

    assert ran.code == 1, ran.err
    assert "ended_by_force" in ran.err
    assert not (with_app.folder / "flushed").exists()


def test_several_processes_share_the_work_and_end_with_it(with_app: Qrun) -> None:
    _send(with_app, *(f"p-{number}" for number in range(40)), "nobody")

    ran = with_app.process("worker", "--burst", "--processes", "2", "--fail", "--concurrency", "2")

    assert ran.code == 1
    assert sorted(set(with_app.states().values())) == ["dead", "succeeded"]


@pytest.mark.contract("F23")
def test_only_the_queues_that_were_named_are_served(with_app: Qrun) -> None:
    payload = b'{"to":"ada"}'
    with_app.enqueue(
        *(make_job(id=name, queue=name, payload=payload) for name in ("critical", "low", "other"))
    )

    ran = with_app.process("worker", "--burst", WORKER_QUEUES="critical,low")

    assert ran.code == 0
    assert with_app.states() == {"critical": "succeeded", "low": "succeeded", "other": "queued"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_the_worker_and_it_ends_with_0(
    qrun: Qrun, tmp_path: Path, number: signal.Signals
) -> None:
    qrun.write("jobs.py", SLOW_APP)
    mark = tmp_path / "began"
    qrun.enqueue(make_job(id="a", type="slow", payload=_slow(mark, 1.0)))
    worker = qrun.start("worker", "--quiet")
    _until(mark, worker)

    worker.send_signal(number)
    worker.communicate(timeout=300)

    assert worker.returncode == 0
    assert qrun.states() == {"a": "succeeded"}


INTERRUPTED_APP = """
import os
import signal
import sys
from pathlib import Path

from treadle import Jobs

jobs = Jobs()


class Told:
    def __init__(self, out):
        self.out = out

    def __getattr__(self, name):
        return getattr(self.out, name)

    def flush(self):
        self.out.flush()
        if not Path("sent").exists():
            Path("sent").touch()
            os.kill(os.getpid(), signal.{name})


sys.stdout = Told(sys.stdout)
"""


@pytest.mark.promise(8)
@pytest.mark.parametrize("processes", ["0", "2"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_right_after_the_start_screen_drains_too(
    qrun: Qrun, name: str, processes: str
) -> None:
    qrun.write("jobs.py", INTERRUPTED_APP.replace("{name}", name))

    ran = qrun.process("worker", "--processes", processes)

    assert (qrun.folder / "sent").exists()
    assert ran.code == 0, ran.err
    assert "Traceback" not in ran.err


def test_two_workers_of_one_name_cannot_live_together(qrun: Qrun, tmp_path: Path) -> None:
    qrun.write("jobs.py", SLOW_APP)
    mark = tmp_path / "began"
    qrun.enqueue(make_job(id="a", type="slow", payload=_slow(mark, 600)))
    first = qrun.start("worker", "--quiet", "--name", "one", "--lease", "3s")
    _until(mark, first)
    mark.unlink()

    second = qrun.start("worker", "--quiet", "--name", "one", "--grace", "0")
    first.communicate(timeout=300)
    second.terminate()
    second.communicate(timeout=300)

    assert first.returncode == 1
    assert second.returncode == 0


def _slow(mark: Path, seconds: float) -> bytes:
    return json.dumps({"mark": str(mark), "seconds": seconds}).encode()


def _until(mark: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a handler says that it began; looks at the file when the worker is asked to be."""
    from watchfiles import watch

    if mark.exists():
        return
    for _ in watch(mark.parent, rust_timeout=100, yield_on_timeout=True, debounce=50, step=20):
        if mark.exists():
            return
        assert process.poll() is None, process.communicate()


def test_no_app_ends_with_3_and_tells_what_was_tried(qrun: Qrun) -> None:
    ran = qrun.process("worker")

    assert ran.code == 3
    assert "[QRUN-C002]" in ran.err
    assert "jobs.py, app.py, main.py" in ran.err


@pytest.mark.promise(2)
def test_a_worker_refuses_a_broker_that_promises_less_than_was_asked(with_app: Qrun) -> None:
    ran = with_app.process("worker", "--burst", QRUN_URL="memory://", QRUN_DURABILITY="power-loss")

    assert ran.code == 4
    assert "power-loss" in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--queues", "a", "--weights", "a=1"),
        ("--weights", "a=x"),
        ("--weights", "a=0"),
        ("--fail",),
        ("--lease", "0s"),
        ("--concurrency", "0"),
        ("--log-format", "xml"),
    ],
)
def test_what_makes_no_worker_ends_with_2(with_app: Qrun, arguments: tuple[str, ...]) -> None:
    assert with_app("worker", *arguments).code == 2


def test_waiting_ends_with_0_once_all_succeeded(with_app: Qrun) -> None:
    _send(with_app, "ada", "bob")
    waiting = with_app.start("wait", "ada", "bob", "--timeout", "120", "--json")

    with_app.process("worker", "--burst")
    out, err = waiting.communicate(timeout=300)

    rows = [json.loads(line) for line in out.splitlines()]
    assert waiting.returncode == 0, err
    assert {row["id"]: row["state"] for row in rows} == {"ada": "succeeded", "bob": "succeeded"}
    assert rows[0]["result"].startswith("sent hi to")


def test_waiting_ends_with_1_if_one_is_dead(with_app: Qrun) -> None:
    _send(with_app, "ada", "nobody")
    with_app.process("worker", "--burst")

    assert with_app("wait", "ada").code == 0
    ran = with_app("wait", "ada", "nobody")
    assert ran.code == 1
    assert "GiveUp" in ran.out
    assert with_app("wait", "--all").code == 1


def test_waiting_too_long_ends_with_124(qrun: Qrun) -> None:
    qrun.enqueue(make_job(id="a"))

    ran = qrun("wait", "a", "--timeout", "0.2")

    assert ran.code == 124
    assert "[QRUN-J021]" in ran.err


def test_waiting_for_all_of_nothing_is_over_at_once(qrun: Qrun) -> None:
    ran = qrun("wait", "--all", "--json")

    assert ran.code == 0
    assert ran.objects == [{"succeeded": 0, "dead": 0, "cancelled": 0}]


def test_waiting_for_an_unknown_job_ends_with_2(qrun: Qrun) -> None:
    assert qrun("wait", "nope").code == 2
    assert qrun("wait").code == 2
    assert qrun("wait", "x", "--all").code == 2
