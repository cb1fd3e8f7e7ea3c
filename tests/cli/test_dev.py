"""`qrun dev`: the worker follows the code."""

from __future__ import annotations

import subprocess

from tests.cli.conftest import APP, Qrun
from tests.support.factories import make_job


def _enqueue(qrun: Qrun, id: str) -> None:
    qrun.enqueue(make_job(id=id, payload=b'{"to":"ada"}'))


def _result(qrun: Qrun, id: str) -> str:
    ran = qrun("wait", id, "--timeout", "120", "--json")
    assert ran.code == 0, ran.err
    return str(ran.objects[0]["result"])


def _until_started(process: subprocess.Popen[str]) -> None:
    """Read the start screen of a worker, to its last line."""
    assert process.stdout is not None
    while not (line := process.stdout.readline()).startswith("handlers"):
        assert line, process.communicate()


def test_a_changed_file_restarts_the_worker_with_the_new_code(qrun: Qrun) -> None:
    qrun.write("jobs.py", APP)
    dev = qrun.start("dev")
    _until_started(dev)
    _enqueue(qrun, "before")
    before = _result(qrun, "before")

    qrun.write("jobs.py", APP.replace("sent {subject}", "posted {subject}"))
    _until_started(dev)
    _enqueue(qrun, "after")
    after = _result(qrun, "after")
    dev.terminate()
    dev.communicate(timeout=300)

    assert (before, after) == ("sent hi to ada", "posted hi to ada")
    assert dev.returncode == 0
