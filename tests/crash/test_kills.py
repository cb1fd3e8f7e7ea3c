"""SIGKILL and SIGTERM at workers and producers: every accepted job is accounted for by id."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter

import pytest

from tests.crash.site import QUICK_LEASE, Site, kill, make
from treadle.domain.job import Policy
from treadle.domain.state import State


@pytest.mark.promise(1, 4, 5)
def test_five_kills_lose_no_job_and_finish_each_once(site: Site) -> None:
    ids = site.works(300, ms=20)
    worker = site.worker("--concurrency", "20")

    for done in (20, 60, 100, 140, 180):
        site.until_done(ids, done)
        kill(worker)
        worker = site.worker("--concurrency", "20")
    records = site.until_final(ids)

    assert Counter(record.head.state for record in records) == {State.SUCCEEDED: 300}
    rows = [[row for row in record.history if row.event == "succeed"] for record in records]
    assert all(len(row) == 1 for row in rows)


@pytest.mark.promise(5)
def test_a_worker_restarted_in_place_takes_over_leases_that_run_for_an_hour(site: Site) -> None:
    ids = site.works(2, ms=600_000)
    worker = site.worker("--lease", "1h")
    before = site.until_running(ids, 2)
    kill(worker)

    site.worker("--lease", "1h")
    fences = {record.job.id: record.head.fence for record in before}
    again = site.wait(
        lambda all_: all(
            r.head.fence > fences[r.job.id] + 1 and r.head.state is State.RUNNING for r in all_
        ),
        ids,
    )

    assert all([row.event for row in record.history] == ["lose"] for record in again)


@pytest.mark.slow
@pytest.mark.promise(5)
def test_another_worker_takes_over_after_the_lease(site: Site) -> None:
    ids = site.works(3, ms=300)
    dying = site.worker(*QUICK_LEASE, name="dying")
    site.until_running(ids, 3)
    kill(dying)

    site.worker(*QUICK_LEASE, name="other")
    records = site.until_final(ids)

    assert {record.head.state for record in records} == {State.SUCCEEDED}
    assert all(record.head.session != "" for record in records)


@pytest.mark.slow
@pytest.mark.promise(7)
def test_one_crasher_is_quarantined_and_no_neighbour_is_blamed(site: Site) -> None:
    good = site.works(100, ms=5)
    (bad,) = site.enqueue([make("crasher", "crash")])
    good += site.enqueue([make(f"late-{n}", "work", b'{"ms": 5}') for n in range(100)])

    site.worker("--processes", "1", "--concurrency", "10", *QUICK_LEASE)
    records = site.until_final([*good, bad])

    crasher = records[-1]
    assert (crasher.head.state, crasher.head.reason) == (State.DEAD, "quarantined")
    assert crasher.head.deaths == 3
    assert {record.head.state for record in records[:-1]} == {State.SUCCEEDED}
    deaths = [line for line in site.ran() if line[:2] == ["start", bad]]
    assert len(deaths) == 3


@pytest.mark.promise(8)
@pytest.mark.contract("F05")
def test_sigterm_under_load_finishes_what_runs_and_hands_back_the_rest(site: Site) -> None:
    ids = site.works(1_500, ms=50)
    worker = site.worker("--concurrency", "4")
    site.until_done(ids[:10], 10)

    worker.send_signal(signal.SIGTERM)
    code = worker.wait(300)

    records = site.records(ids)
    states = Counter(record.head.state for record in records)
    assert code == 0
    assert states[State.RUNNING] == 0
    assert states[State.WAITING] > 0
    assert all(r.head.attempt == 0 for r in records if r.head.state is State.WAITING)
    lines = Counter((line[0], line[1]) for line in site.ran())
    assert all(count == 1 for count in lines.values()), "started or ended twice"


@pytest.mark.promise(8)
def test_a_second_sigterm_means_no_grace(site: Site) -> None:
    ids = site.works(2, ms=600_000)
    worker = site.worker("--grace", "10m")
    site.until_running(ids, 2)

    worker.send_signal(signal.SIGTERM)
    worker.send_signal(signal.SIGINT)
    code = worker.wait(300)

    assert code == 0
    assert {record.head.state for record in site.records(ids)} == {State.WAITING}


@pytest.mark.slow
@pytest.mark.promise(6)
def test_a_handler_that_blocks_the_loop_keeps_its_lease(site: Site) -> None:
    (id,) = site.enqueue([make("blocker", "block", b'{"ms": 9000}')])
    site.worker(*QUICK_LEASE, name="blocked")
    site.until_running([id])
    site.worker(*QUICK_LEASE, name="sweeper")

    (record,) = site.until_final([id])

    assert record.head.state is State.SUCCEEDED
    assert [row.event for row in record.history] == ["succeed"]
    assert len([line for line in site.ran() if line[0] == "start"]) == 1
    assert "loop_blocked" in (site.folder / "worker.log").read_text()


@pytest.mark.slow
@pytest.mark.promise(6)
def test_a_blocked_loop_cannot_hold_a_job_beyond_its_time_limit(site: Site) -> None:
    policy = Policy(timeout_ms=1_000, max_attempts=1)
    (id,) = site.enqueue([make("stuck", "block", b'{"ms": 200000}', policy)])
    site.worker()

    (record,) = site.until_final([id])

    assert (record.head.state, record.head.reason) == (State.DEAD, "timeout")
    assert record.head.finished - record.head.claimed < 200_000, "it still blocked"


@pytest.mark.promise(10)
def test_a_process_handler_that_spins_is_killed_and_one_that_dies_fails(site: Site) -> None:
    limit = Policy(timeout_ms=1_500, max_attempts=1)
    ids = site.enqueue(
        [
            make("spin", "child", b'{"how": "spin"}', limit),
            make("die", "child", b'{"how": "die"}', Policy(max_attempts=1)),
            make("fine", "child", b'{"how": "fine"}'),
        ]
    )
    site.worker()

    spin, die, fine = site.until_final(ids)

    assert (spin.head.state, spin.head.reason) == (State.DEAD, "timeout")
    assert die.head.state is State.DEAD
    assert fine.head.state is State.SUCCEEDED


_PRODUCER = """
import sys
from treadle import Jobs
jobs = Jobs(sys.argv[1])

@jobs.handler("work")
async def work(ms: int = 1) -> None: ...

for number in range(100_000):
    job = work.enqueue_sync(1)
    print(job.id, flush=True)
"""


@pytest.mark.promise(1, 3)
def test_no_job_that_a_killed_producer_saw_accepted_is_lost(site: Site) -> None:
    accepted: list[str] = []
    for _ in range(3):
        producer = subprocess.Popen(
            [sys.executable, "-c", _PRODUCER, site.url], stdout=subprocess.PIPE, cwd=site.folder
        )
        site.processes.append(producer)
        assert producer.stdout is not None
        lines = [producer.stdout.readline().decode() for _ in range(200)]
        kill(producer)
        lines += producer.stdout.read().decode().splitlines(keepends=True)
        producer.stdout.close()
        accepted += [line.strip() for line in lines if line.endswith("\n")]

    records = site.records(accepted)

    assert len(accepted) >= 600
    assert {record.head.state for record in records} == {State.WAITING}
