"""What people ask of a job: cancel, run at another time, run again, remove."""

from __future__ import annotations

import pytest

from tests.support.factories import HALF, NOW, change_of, make_job, make_record
from treadle.domain import head as heads
from treadle.domain.decide import decide
from treadle.domain.job import DEFAULT_POLICY, After, At, Policy
from treadle.domain.job import NOW as AT_ONCE
from treadle.domain.outcome import (
    CancelAsked,
    DiscardAsked,
    Removal,
    RescheduleAsked,
    RetryAsked,
)
from treadle.domain.state import FINAL, State


def test_a_cancel_says_who_asked_for_it() -> None:
    row = change_of(make_record(State.WAITING), CancelAsked(by="ada")).history

    assert row is not None
    assert (row.event, row.reason, row.by) == ("cancel", "cancelled", "ada")


def test_a_cancelled_blocked_job_waits_for_nobody() -> None:
    change = change_of(make_record(State.BLOCKED), CancelAsked())

    assert change.edges == ()


@pytest.mark.parametrize("due", [AT_ONCE, After(5_000), At(NOW + 9)])
def test_a_waiting_job_moves_in_time(due: After | At) -> None:
    change = change_of(make_record(State.WAITING), RescheduleAsked(due=due, by="ada"))

    assert (change.state, change.due) == (State.WAITING, due)
    assert change.history is not None
    assert change.history.by == "ada"


def test_a_job_moved_in_time_keeps_what_is_known_of_it() -> None:
    record = make_record(
        State.WAITING, attempt=2, deaths=1, stalls=3, parked=NOW - 5, delay_ms=4_000
    )

    change = change_of(record, RescheduleAsked(due=AT_ONCE))

    assert (change.attempt, change.deaths, change.stalls, change.parked, change.delay_ms) == (
        2,
        1,
        3,
        NOW - 5,
        4_000,
    )


def test_a_waiting_job_may_get_another_body() -> None:
    body = make_job(payload=b'{"to": "eve"}')

    change = change_of(make_record(State.WAITING), RescheduleAsked(due=AT_ONCE, job=body))

    assert change.job == body


@pytest.mark.promise(4)
@pytest.mark.contract("F24")
@pytest.mark.parametrize("state", sorted(FINAL))
def test_a_retry_of_a_final_job_starts_a_new_run(state: State) -> None:
    record = make_record(
        state, attempt=4, deaths=3, stalls=9, parked=NOW - 5, delay_ms=4_000, expires=NOW - 1
    )

    change = change_of(record, RetryAsked(by="ada"))
    head = heads.replaced(record.head, change, NOW)

    assert (head.state, head.due, head.finished) == (State.WAITING, NOW, 0)
    assert (head.attempt, head.deaths, head.stalls, head.parked) == (0, 0, 0, 0)
    assert (head.delay_ms, head.expires, head.reason) == (0, 0, "")


@pytest.mark.promise(4)
def test_a_retry_grows_the_fence_so_that_the_old_run_cannot_write() -> None:
    record = make_record(State.DEAD, fence=20)

    head = heads.replaced(record.head, change_of(record, RetryAsked()), NOW)

    assert head.fence == 21


@pytest.mark.contract("F24")
def test_a_retry_clears_the_result_and_takes_the_unique_key_again() -> None:
    assert change_of(make_record(State.DEAD), RetryAsked()).fresh


@pytest.mark.contract("F24")
def test_the_history_says_who_retried_and_why_the_job_had_ended() -> None:
    record = make_record(State.DEAD, reason="exhausted")

    row = change_of(record, RetryAsked(by="ada")).history

    assert row is not None
    assert (row.event, row.by, row.reason) == ("retry", "ada", "exhausted")


@pytest.mark.parametrize("state", sorted(FINAL))
def test_a_discarded_record_leaves_only_the_memory_of_its_id(state: State) -> None:
    policy = Policy(remember_ms=77)

    answer = decide(make_record(state, fence=9), DiscardAsked(), policy, NOW, HALF)

    assert answer == Removal(queue="default", id="job-1", fence=9, remember_ms=77)


def test_generated_ids_are_remembered_ten_minutes_by_default() -> None:
    assert DEFAULT_POLICY.remember_ms == 10 * 60_000
