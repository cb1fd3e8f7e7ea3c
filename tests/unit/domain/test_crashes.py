"""What happens to a job whose worker died, stalled or stopped."""

from __future__ import annotations

import pytest

from tests.support.factories import NOW, change_of, make_record
from treadle.domain.job import NOW as AT_ONCE
from treadle.domain.job import OnCrash, Policy
from treadle.domain.outcome import Interrupted, Lost
from treadle.domain.state import State

ONCE = Policy(on_crash=OnCrash.DEAD)
DEATH = Lost(ended=True)
STALL = Lost(ended=False)


@pytest.mark.promise(5)
def test_a_lost_job_waits_and_is_due_at_once() -> None:
    change = change_of(make_record(), DEATH)

    assert (change.state, change.due) == (State.WAITING, AT_ONCE)


@pytest.mark.promise(7)
@pytest.mark.parametrize("lost", [DEATH, STALL])
def test_a_lost_lease_uses_up_no_attempt(lost: Lost) -> None:
    change = change_of(make_record(attempt=4), lost, Policy(max_attempts=4))

    assert (change.state, change.attempt) == (State.WAITING, 3)


@pytest.mark.promise(7)
def test_a_lease_lost_with_its_session_is_a_death() -> None:
    change = change_of(make_record(deaths=1, stalls=4), DEATH)

    assert (change.deaths, change.stalls) == (2, 4)


@pytest.mark.promise(7)
def test_a_lease_lost_by_a_living_session_is_a_stall() -> None:
    change = change_of(make_record(deaths=1, stalls=4), STALL)

    assert (change.deaths, change.stalls) == (1, 5)


@pytest.mark.promise(7)
@pytest.mark.parametrize("ended", [True, False])
def test_a_job_that_had_not_started_is_not_blamed(ended: bool) -> None:
    change = change_of(make_record(deaths=1, stalls=4), Lost(ended=ended, started=False))

    assert (change.deaths, change.stalls) == (1, 4)


@pytest.mark.promise(7)
def test_the_third_death_is_quarantined() -> None:
    change = change_of(make_record(deaths=2), DEATH)

    assert (change.state, change.reason, change.deaths) == (State.DEAD, "quarantined", 3)


@pytest.mark.promise(7)
def test_the_second_death_is_not() -> None:
    change = change_of(make_record(deaths=1), DEATH)

    assert change.state is State.WAITING


@pytest.mark.promise(7)
def test_the_tenth_stall_is_dead_and_lost() -> None:
    change = change_of(make_record(stalls=9), STALL)

    assert (change.state, change.reason, change.stalls) == (State.DEAD, "lost", 10)


@pytest.mark.promise(7)
def test_the_ninth_stall_is_not() -> None:
    change = change_of(make_record(stalls=8), STALL)

    assert change.state is State.WAITING


@pytest.mark.promise(7)
def test_each_death_leaves_a_row_with_its_worker_time_and_cause() -> None:
    record = make_record(session="w-3", fence=9)

    row = change_of(record, Lost(detail="killed by SIGSEGV")).history

    assert row is not None
    assert (row.event, row.session, row.at, row.fence) == ("lose", "w-3", NOW, 9)
    assert row.error is not None
    assert row.error.message == "killed by SIGSEGV"


@pytest.mark.promise(4)
@pytest.mark.parametrize("lost", [DEATH, STALL])
def test_a_job_that_may_run_at_most_once_is_dead_when_lost(lost: Lost) -> None:
    change = change_of(make_record(), lost, ONCE)

    assert (change.state, change.reason) == (State.DEAD, "lost")


@pytest.mark.promise(4)
def test_a_job_that_may_run_at_most_once_runs_again_if_it_had_not_started() -> None:
    change = change_of(make_record(), Lost(started=False), ONCE)

    assert change.state is State.WAITING


@pytest.mark.promise(8)
@pytest.mark.parametrize("started", [True, False])
def test_a_job_handed_back_waits_at_once_and_uses_up_no_attempt(started: bool) -> None:
    change = change_of(make_record(attempt=1), Interrupted(started=started))

    assert (change.state, change.due, change.attempt) == (State.WAITING, AT_ONCE, 0)


@pytest.mark.promise(8)
def test_a_hand_back_counts_neither_as_death_nor_as_stall_and_clears_none() -> None:
    change = change_of(make_record(deaths=1, stalls=4), Interrupted())

    assert (change.deaths, change.stalls) == (1, 4)


def test_a_prefetched_job_handed_back_leaves_no_row() -> None:
    change = change_of(make_record(), Interrupted(started=False))

    assert change.history is None


def test_a_running_job_handed_back_leaves_a_row() -> None:
    change = change_of(make_record(), Interrupted(started=True, ran_ms=30))

    assert change.history is not None
    assert (change.history.event, change.history.ran_ms) == ("interrupt", 30)


@pytest.mark.promise(4)
def test_a_job_that_may_run_at_most_once_is_dead_when_interrupted() -> None:
    change = change_of(make_record(attempt=1), Interrupted(started=True), ONCE)

    assert (change.state, change.reason, change.attempt) == (State.DEAD, "interrupted", 0)


@pytest.mark.promise(8)
def test_a_job_that_may_run_at_most_once_is_handed_back_if_it_had_not_started() -> None:
    change = change_of(make_record(), Interrupted(started=False), ONCE)

    assert change.state is State.WAITING


@pytest.mark.parametrize("happening", [Interrupted(started=True), Lost(started=True)])
def test_a_job_that_started_is_no_longer_parked(happening: Interrupted | Lost) -> None:
    change = change_of(make_record(parked=NOW - 9_000), happening)

    assert change.parked == 0


@pytest.mark.parametrize("happening", [Interrupted(started=False), Lost(started=False)])
def test_a_job_that_had_not_started_stays_parked_since_the_first_time(
    happening: Interrupted | Lost,
) -> None:
    change = change_of(make_record(parked=NOW - 9_000), happening)

    assert change.parked == NOW - 9_000
