"""What a refused write means to the worker that sent it."""

from __future__ import annotations

import pytest
from msgspec import structs

from tests.support.factories import NOW, change_of, make_failure, make_record
from treadle.domain import head as heads
from treadle.domain.conflict import Verdict, after_conflict
from treadle.domain.job import Record
from treadle.domain.outcome import CancelRequest, Change, RetryAsked, Succeeded
from treadle.domain.state import State


def _applied(record: Record, change: Change) -> Record:
    assert change.history is not None
    return structs.replace(
        record,
        head=heads.replaced(record.head, change, NOW),
        history=(*record.history, change.history),
    )


def test_a_record_that_runs_under_our_fence_is_decided_again() -> None:
    write = change_of(make_record(), make_failure())

    verdict = after_conflict(write, make_record(cancel=True), resent=False)

    assert verdict is Verdict.AGAIN


@pytest.mark.promise(4)
@pytest.mark.parametrize("resent", [True, False])
def test_a_record_that_runs_under_another_fence_is_dropped(resent: bool) -> None:
    write = change_of(make_record(fence=7), Succeeded())

    verdict = after_conflict(write, make_record(fence=9), resent=resent)

    assert verdict is Verdict.DROP


@pytest.mark.promise(4)
@pytest.mark.parametrize("resent", [True, False])
def test_a_record_that_is_gone_is_dropped(resent: bool) -> None:
    write = change_of(make_record(), Succeeded())

    assert after_conflict(write, None, resent=resent) is Verdict.DROP


def test_a_record_that_is_only_remembered_is_dropped() -> None:
    write = change_of(make_record(), Succeeded())
    remembered = structs.replace(make_record(State.SUCCEEDED, fence=8), forgotten=True)

    assert after_conflict(write, remembered, resent=True) is Verdict.DROP


@pytest.mark.promise(4, 9)
def test_a_write_whose_reply_was_lost_is_found_in_the_history() -> None:
    record = make_record()
    write = change_of(record, Succeeded())

    verdict = after_conflict(write, _applied(record, write), resent=True)

    assert verdict is Verdict.OWN


@pytest.mark.promise(9)
def test_it_is_found_even_if_the_job_was_retried_since() -> None:
    record = make_record()
    write = change_of(record, make_failure(give_up=True))
    dead = _applied(record, write)
    again = _applied(dead, change_of(dead, RetryAsked()))

    assert after_conflict(write, again, resent=True) is Verdict.OWN


@pytest.mark.promise(4)
def test_a_write_sent_for_the_first_time_is_never_taken_for_an_earlier_one() -> None:
    record = make_record()
    write = change_of(record, Succeeded())

    assert after_conflict(write, _applied(record, write), resent=False) is Verdict.DROP


@pytest.mark.promise(4)
def test_what_somebody_else_wrote_about_the_same_attempt_is_not_ours() -> None:
    record = make_record()
    write = change_of(record, Succeeded())
    theirs = change_of(record, make_failure(give_up=True))

    assert after_conflict(write, _applied(record, theirs), resent=True) is Verdict.DROP


def test_a_cancel_request_that_met_another_state_is_dropped() -> None:
    request = CancelRequest(queue="default", id="job-1", fence=7)

    verdict = after_conflict(request, make_record(State.SUCCEEDED, fence=8), resent=True)

    assert verdict is Verdict.DROP
