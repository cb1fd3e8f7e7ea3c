"""`decide` against the table: every pair of a state and an event, and every pair that is missing."""

from __future__ import annotations

import pytest

from tests.support.factories import HALF, NOW, change_of, make_failure, make_job, make_record
from treadle.domain.decide import decide, is_suspect
from treadle.domain.job import DEFAULT_POLICY, NEVER, After, At, ErrorInfo, Policy, Ref
from treadle.domain.outcome import (
    CancelAsked,
    Cancelled,
    CancelRequest,
    Change,
    DiscardAsked,
    Expired,
    Happening,
    Interrupted,
    LookedAt,
    Lost,
    Parked,
    RefusalCode,
    Refused,
    Rejected,
    Removal,
    RescheduleAsked,
    RetryAsked,
    Snoozed,
    Succeeded,
    Write,
)
from treadle.domain.state import FINAL, TRANSITIONS, Event, Reason, State

PARENT = Ref("default", "parent")

HAPPENINGS: dict[Event, Happening] = {
    Event.SUCCEED: Succeeded(),
    Event.FAIL: make_failure(),
    Event.SNOOZE: Snoozed(due=After(5)),
    Event.INTERRUPT: Interrupted(),
    Event.LOSE: Lost(),
    Event.REJECT: Rejected(reason=Reason.BAD_ARGUMENTS, error=ErrorInfo(type="PayloadError")),
    Event.PARK: Parked(reason=Reason.UNKNOWN_TYPE),
    Event.CANCEL: Cancelled(),
    Event.EXPIRE: Expired(),
    Event.BLOCK: LookedAt(parents=((PARENT, State.RUNNING),)),
    Event.UNBLOCK: LookedAt(),
    Event.RESCHEDULE: RescheduleAsked(due=After(5)),
    Event.RETRY: RetryAsked(),
    Event.DISCARD: DiscardAsked(),
}
PAIRS = [(state, event) for state in State for event in HAPPENINGS]


def target(write: Write) -> State | None:
    """Name the state that the record has once the write is applied; None if it is gone."""
    match write:
        case Change():
            return write.state
        case CancelRequest():
            return State.RUNNING
        case Removal():
            return None


@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair in TRANSITIONS])
def test_a_pair_of_the_table_leads_where_the_table_says(state: State, event: Event) -> None:
    answer = decide(make_record(state), HAPPENINGS[event], DEFAULT_POLICY, NOW, HALF)

    assert not isinstance(answer, Refused)
    assert target(answer) in TRANSITIONS[state, event]


@pytest.mark.promise(4)
@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair not in TRANSITIONS])
def test_a_pair_outside_the_table_is_refused(state: State, event: Event) -> None:
    answer = decide(make_record(state), HAPPENINGS[event], DEFAULT_POLICY, NOW, HALF)

    assert isinstance(answer, Refused)
    assert answer.code is RefusalCode.ILLEGAL_TRANSITION


def test_a_refusal_names_job_queue_state_and_event() -> None:
    record = make_record(State.DEAD, job=make_job(id="j-9", queue="mail"))

    answer = decide(record, Succeeded(), DEFAULT_POLICY, NOW, HALF)

    assert isinstance(answer, Refused)
    assert answer.detail == "job j-9 of queue mail is dead: it cannot succeed"


@pytest.mark.parametrize("state", [State.WAITING, State.BLOCKED])
def test_a_cancel_asked_of_a_job_that_does_not_run_ends_it(state: State) -> None:
    change = change_of(make_record(state), CancelAsked(by="ada"))

    assert change.state is State.CANCELLED


def test_a_cancel_asked_of_a_running_job_is_only_a_request() -> None:
    record = make_record(State.RUNNING, fence=12)

    answer = decide(record, CancelAsked(), DEFAULT_POLICY, NOW, HALF)

    assert answer == CancelRequest(queue="default", id="job-1", fence=12)


@pytest.mark.parametrize("state", sorted(FINAL))
def test_a_cancel_asked_of_a_final_job_is_refused(state: State) -> None:
    answer = decide(make_record(state), CancelAsked(), DEFAULT_POLICY, NOW, HALF)

    assert isinstance(answer, Refused)


@pytest.mark.promise(4)
@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair in TRANSITIONS])
def test_every_write_carries_the_identity_and_fence_of_the_record_it_was_decided_for(
    state: State, event: Event
) -> None:
    record = make_record(state, job=make_job(id="j-9", queue="mail"), fence=41)

    answer = decide(record, HAPPENINGS[event], DEFAULT_POLICY, NOW, HALF)

    assert not isinstance(answer, Refused)
    assert (answer.queue, answer.id, answer.fence) == ("mail", "j-9", 41)


def test_success_keeps_the_result_and_the_time_it_took() -> None:
    change = change_of(make_record(attempt=2), Succeeded(result=b'"ok"', ran_ms=40))

    assert (change.state, change.result, change.attempt) == (State.SUCCEEDED, b'"ok"', 2)
    assert change.history is not None
    assert (change.history.event, change.history.ran_ms) == ("succeed", 40)


def test_success_hands_on_the_follow_ups() -> None:
    child = make_job(id="job-1/1")

    change = change_of(make_record(), Succeeded(follow_ups=(child,)))

    assert change.follow_ups == (child,)


@pytest.mark.promise(4)
def test_success_wins_over_a_cancel_request() -> None:
    change = change_of(make_record(cancel=True), Succeeded(result=b"1"))

    assert change.state is State.SUCCEEDED


@pytest.mark.promise(12)
@pytest.mark.parametrize(
    ("happening", "expected"),
    [
        (Succeeded(), After(1_000)),
        (Cancelled(), After(1_000)),
        (make_failure(give_up=True), After(9_000)),
    ],
)
def test_a_final_record_is_due_for_purge_after_its_retention(
    happening: Happening, expected: After
) -> None:
    policy = Policy(retention_ms=1_000, dead_retention_ms=9_000)

    change = change_of(make_record(), happening, policy)

    assert change.due == expected


@pytest.mark.parametrize("happening", [Succeeded(), Cancelled(), make_failure(give_up=True)])
def test_a_record_without_retention_is_never_due_for_purge(happening: Happening) -> None:
    policy = Policy(retention_ms=None, dead_retention_ms=None)

    change = change_of(make_record(), happening, policy)

    assert change.due == At(NEVER)


def test_the_history_row_is_keyed_by_the_fence_of_the_claim() -> None:
    record = make_record(fence=33, attempt=2, claimed=NOW - 500, session="w-7")

    row = change_of(record, Succeeded()).history

    assert row is not None
    assert (row.fence, row.attempt, row.claimed, row.at, row.session) == (
        33,
        2,
        NOW - 500,
        NOW,
        "w-7",
    )


def test_an_expired_job_is_cancelled_with_its_attempt_given_back() -> None:
    change = change_of(make_record(attempt=1), Expired())

    assert (change.state, change.reason, change.attempt) == (State.CANCELLED, "expired", 0)


@pytest.mark.promise(7)
@pytest.mark.parametrize(("deaths", "expected"), [(0, False), (1, True), (2, True)])
def test_a_job_that_was_there_at_a_death_is_a_suspect(deaths: int, expected: bool) -> None:
    assert is_suspect(make_record(State.WAITING, deaths=deaths)) is expected
