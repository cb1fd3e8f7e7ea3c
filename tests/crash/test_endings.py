"""Worker processes that cannot end by themselves: blocked, frozen, deaf, or held by a handler."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.crash.site import QUICK_LEASE, Site, kill, make
from treadle.broker.base import Broker
from treadle.domain.job import Policy
from treadle.domain.state import State


@pytest.mark.promise(8)
@pytest.mark.contract("F05")
@pytest.mark.parametrize("second", [False, True], ids=["grace", "second-signal"])
def test_a_blocked_loop_does_not_keep_a_worker_from_ending(site: Site, second: bool) -> None:
    (blocker,) = site.enqueue([make("blocker", "block", b'{"ms": 600000}')])
    worker = site.worker("--grace", "10m" if second else "1s", "--concurrency", "1")
    site.wait(lambda _: bool(site.ran()), [blocker])

    worker.send_signal(signal.SIGTERM)
    while second and worker.poll() is None:  # as somebody who is impatient does
        worker.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            worker.wait(0.5)
    code = worker.wait(300)

    (record,) = site.records([blocker])
    assert code == 0
    assert (record.head.state, record.head.attempt) == (State.WAITING, 0)
    assert [row.event for row in record.history] == ["interrupt"]
    assert "drain_blocked" in (site.folder / "worker.log").read_text()
    assert not site.ask(_sessions), "its session is closed, not left to expire"


@pytest.mark.promise(8)
def test_a_blocked_worker_that_is_ended_by_force_says_that_jobs_failed(site: Site) -> None:
    bad, blocker = site.enqueue(
        [make("bad", "work", b'{"ms": "none"}'), make("blocker", "block", b'{"ms": 600000}')]
    )
    options = ("--burst", "--fail", "--grace", "0s", "--concurrency", "1")
    worker = site.worker(*options)
    site.wait(lambda _: bool(site.ran()), [blocker])
    site.wait(lambda records: records[0].head.state is State.DEAD, [bad])

    worker.send_signal(signal.SIGTERM)

    assert worker.wait(300) == 1
    assert "drain_blocked" in (site.folder / "worker.log").read_text()


async def _sessions(broker: Broker) -> list[str]:
    return [session.name for session in await broker.sessions()]


@pytest.mark.promise(8)
def test_a_supervisor_kills_a_child_that_hangs_beyond_its_grace_period(site: Site) -> None:
    (frozen,) = site.enqueue([make("frozen", "freeze")])
    supervisor = site.worker("--processes", "1", "--grace", "1s")
    site.wait(lambda _: bool(site.ran()), [frozen])
    pid = site.pid_of(frozen)

    began = time.monotonic()
    supervisor.send_signal(signal.SIGTERM)
    try:
        code = supervisor.wait(300)
        took = time.monotonic() - began
        alive = _is_alive(pid)
    finally:
        _end(pid)

    assert code == 128 + signal.SIGKILL
    assert took >= 1 + 2, "it had its grace period and a moment"
    assert not alive
    assert "child_killed" in (site.folder / "worker.log").read_text()


@pytest.mark.promise(8)
def test_the_processes_of_a_supervisor_that_was_killed_drain(site: Site) -> None:
    (long,) = site.enqueue([make("long", "work", b'{"ms": 600000}')])
    supervisor = site.worker("--processes", "1", "--grace", "0s")
    site.wait(lambda _: bool(site.ran()), [long])
    pid = site.pid_of(long)

    kill(supervisor)
    try:
        (record,) = site.wait(lambda records: records[0].head.state is State.WAITING, [long])
        ended = _ends(pid, 120)
    finally:
        _end(pid)

    assert ended
    assert (record.head.attempt, [row.event for row in record.history]) == (0, ["interrupt"])
    assert "supervisor_gone" in (site.folder / "worker.log").read_text()


@pytest.mark.promise(8, 10)
def test_a_worker_that_a_handler_made_deaf_hears_again(site: Site) -> None:
    ids = site.enqueue([make("deaf", "deafen"), make("ear", "listen")])
    worker = site.worker()
    site.until_final(ids)

    worker.send_signal(signal.SIGTERM)

    assert worker.wait(300) == 0
    assert "signal_handler_changed" in (site.folder / "worker.log").read_text()


@pytest.mark.slow
@pytest.mark.promise(10)
@pytest.mark.parametrize("kind", ["stubborn", "sync.work"])
def test_a_worker_whose_handler_swallows_its_cancellation_is_replaced(
    site: Site, kind: str
) -> None:
    log = site.folder / "worker.log"
    once = Policy(max_attempts=1, timeout_ms=200)
    payload = b'{"ms": 600000}' if kind == "sync.work" else b"{}"
    (bad,) = site.enqueue([make("bad", kind, payload, once)])
    supervisor = site.worker("--processes", "1", "--concurrency", "1", "--grace", "60s")

    (record,) = site.until_final([bad])
    site.wait(lambda _: "worker_recycles" in log.read_text(), [bad])
    (good,) = site.works(1)
    (fine,) = site.until_final([good])

    assert (record.head.state, record.head.reason) == (State.DEAD, "timeout")
    assert fine.head.state is State.SUCCEEDED
    assert site.pid_of(good) != site.pid_of(bad), "another process"
    assert supervisor.poll() is None
    assert ("handler_ignores_cancel" in log.read_text()) == (kind == "stubborn")


@pytest.mark.slow
@pytest.mark.promise(10)
def test_a_worker_that_shall_be_replaced_ends_also_if_its_loop_is_blocked_then(site: Site) -> None:
    once = Policy(max_attempts=1, timeout_ms=200)
    _, late = site.enqueue(
        [
            make("bad", "stubborn", policy=once),
            make("late", "block", b'{"ms": 600000, "after": "worker_recycles"}'),
        ]
    )
    worker = site.worker("--concurrency", "5", "--grace", "8s")

    code = worker.wait(300)

    (record,) = site.records([late])
    log = (site.folder / "worker.log").read_text()
    assert (code, record.head.state) == (1, State.WAITING)
    assert log.index("worker_recycles") < log.index("drain_blocked")


@pytest.mark.slow
@pytest.mark.promise(7)
def test_what_a_child_needs_to_start_does_not_count_against_the_time_limit(site: Site) -> None:
    short = Policy(max_attempts=1, timeout_ms=4_000)
    suspect, child = site.enqueue(
        [
            make("suspect", "work", policy=short),
            make("child", "child", b'{"how": "fine"}', policy=short),
        ]
    )
    site.ask(_die_with_the_first)
    (site.folder / "slow_import").write_text("5")

    worker = site.worker(*QUICK_LEASE)
    records = site.until_final([suspect, child])
    alone = site.pid_of(suspect)
    site.wait(lambda _: not _is_alive(alone), [suspect])

    assert alone != worker.pid
    assert [record.head.state for record in records] == [State.SUCCEEDED] * 2
    assert [row.event for row in records[0].history] == ["lose", "succeed"]


@pytest.mark.promise(7)
def test_a_suspect_that_runs_over_its_time_limit_is_stopped_all_the_same(site: Site) -> None:
    short = Policy(max_attempts=1, timeout_ms=600)
    (suspect,) = site.enqueue([make("suspect", "work", b'{"ms": 600000}', short)])
    site.ask(_die_with_the_first)

    site.worker(*QUICK_LEASE)
    (record,) = site.until_final([suspect])

    assert (record.head.state, record.head.reason) == (State.DEAD, "timeout")


async def _die_with_the_first(broker: Broker) -> None:
    """Claim the first job as a worker that then dies."""
    opened = await broker.open("w1", 3_600_000, b"{}")
    await broker.claim(opened.session, ["default"], 1)


def _is_alive(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def _ends(pid: int, seconds: float) -> bool:
    """Wait for the end of a process that is not ours; tell whether it came."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ready, _, _ = select.select([process], [], [], seconds)
        return bool(ready)
    finally:
        os.close(process)


def _end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
