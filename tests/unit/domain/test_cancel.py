"""A cancel request that stands when an attempt ends: each outcome that it can meet."""

from __future__ import annotations

import pytest

from tests.support.factories import NOW, change_of, make_failure, make_record
from treadle.domain import head as heads
from treadle.domain.job import After, ErrorInfo
from treadle.domain.outcome import (
    Cancelled,
    CancelRequest,
    Happening,
    Interrupted,
    Lost,
    Parked,
    Rejected,
    Snoozed,
    Succeeded,
)
from treadle.domain.state import Reason, State

WOULD_WAIT: list[Happening] = [
    make_failure(),
    make_failure(retry_after=After(5)),
    Snoozed(due=After(5)),
    Interrupted(started=True),
    Interrupted(started=False),
    Lost(ended=True),
    Lost(ended=False),
    Parked(reason=Reason.UNKNOWN_TYPE),
    Parked(reason=Reason.UNSUPPORTED_VERSION),
]


def _name(happening: Happening) -> str:
    return type(happening).__name__


@pytest.mark.promise(4)
@pytest.mark.parametrize("happening", WOULD_WAIT, ids=_name)
def test_what_would_have_waited_becomes_cancelled(happening: Happening) -> None:
    change = change_of(make_record(cancel=True), happening)

    assert (change.state, change.reason) == (State.CANCELLED, "cancelled")


@pytest.mark.parametrize(
    "happening",
    [happening for happening in WOULD_WAIT if _name(happening) != "Failed"],
    ids=_name,
)
def test_what_would_have_given_its_attempt_back_still_does(happening: Happening) -> None:
    change = change_of(make_record(cancel=True, attempt=2), happening)

    assert change.attempt == 1


def test_a_failure_that_meets_a_cancel_keeps_its_attempt_and_its_error() -> None:
    failure = make_failure()

    change = change_of(make_record(cancel=True, attempt=2), failure)

    assert change.attempt == 2
    assert change.history is not None
    assert change.history.error == failure.error


def test_the_row_says_what_the_cancel_met() -> None:
    change = change_of(make_record(cancel=True), Snoozed(due=After(5), ran_ms=20))

    assert change.history is not None
    assert (change.history.event, change.history.ran_ms) == ("snooze", 20)


@pytest.mark.promise(4)
def test_success_stays_success() -> None:
    change = change_of(make_record(cancel=True), Succeeded(result=b"1"))

    assert change.state is State.SUCCEEDED


def test_a_rejected_job_stays_dead() -> None:
    rejected = Rejected(reason=Reason.BAD_ARGUMENTS, error=ErrorInfo(type="PayloadError"))

    change = change_of(make_record(cancel=True), rejected)

    assert change.state is State.DEAD


def test_a_handler_may_cancel_its_own_job_and_say_why() -> None:
    change = change_of(make_record(), Cancelled(detail="user is gone", ran_ms=3))

    assert (change.state, change.reason) == (State.CANCELLED, "cancelled")
    assert change.history is not None
    assert change.history.error == ErrorInfo(type="Cancel", message="user is gone")


def test_a_request_moves_neither_state_nor_fence() -> None:
    record = make_record(fence=5)

    assert heads.accepts(record.head, CancelRequest(queue="default", id="job-1", fence=5))


@pytest.mark.promise(4)
@pytest.mark.parametrize("happening", WOULD_WAIT, ids=_name)
def test_a_change_decided_before_the_request_conflicts_and_the_next_one_ends_the_job(
    happening: Happening,
) -> None:
    seen = make_record(cancel=False)
    stands = make_record(cancel=True)

    first = change_of(seen, happening)
    second = change_of(stands, happening)

    assert not heads.accepts(stands.head, first)
    assert heads.accepts(stands.head, second)
    assert heads.replaced(stands.head, second, NOW).state is State.CANCELLED


def test_a_cancel_that_comes_after_the_handler_returned_loses() -> None:
    success = change_of(make_record(cancel=False), Succeeded())

    assert heads.accepts(make_record(cancel=True).head, success)
