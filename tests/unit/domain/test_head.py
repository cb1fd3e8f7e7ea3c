"""The arithmetic of heads that all brokers share."""

from __future__ import annotations

import pytest

from tests.support.factories import NOW, change_of, make_failure, make_head, make_job, make_record
from treadle.domain import head as heads
from treadle.domain.job import KEEP, After, At, Due, Head, Ref
from treadle.domain.outcome import (
    CancelRequest,
    Change,
    Interrupted,
    LookedAt,
    Removal,
    RescheduleAsked,
    RetryAsked,
    Succeeded,
)
from treadle.domain.state import FINAL, Event, State

LATER = NOW + 60_000
FULL = make_head(
    State.WAITING,
    attempt=2,
    deaths=1,
    stalls=3,
    parked=NOW - 5,
    delay_ms=4_000,
    look_ms=500,
    expires=LATER,
    reason="unknown_type",
    claimed=NOW - 900,
    session="worker-1",
)


@pytest.mark.contract("F25")
@pytest.mark.parametrize(
    ("due", "expected"), [(After(5), NOW + 5), (At(NOW + 9), NOW + 9), (KEEP, 77)]
)
def test_a_due_becomes_an_instant_of_broker_time(due: Due, expected: int) -> None:
    assert heads.instant(due, NOW, current=77) == expected


def test_a_new_job_waits_with_its_first_fence_and_no_attempt() -> None:
    head = heads.first(make_job(), NOW, 41)

    assert head == Head(state=State.WAITING, fence=41, due=NOW)


@pytest.mark.contract("F25")
def test_a_delayed_job_is_due_after_its_delay() -> None:
    assert heads.first(make_job(due=After(5_000)), NOW, 1).due == NOW + 5_000


@pytest.mark.parametrize("expires", [After(60_000), At(LATER)])
def test_an_expiry_is_kept_as_an_instant(expires: After | At) -> None:
    assert heads.first(make_job(expires=expires), NOW, 1).expires == LATER


def test_a_job_with_parents_is_blocked_and_due_for_a_look_at_once() -> None:
    job = make_job(after=(Ref("default", "parent"),), due=After(5_000))

    head = heads.first(job, NOW, 41)

    assert (head.state, head.due, head.fence) == (State.BLOCKED, NOW, 41)


@pytest.mark.promise(4)
def test_a_claim_counts_attempt_and_fence_and_names_its_session() -> None:
    head = heads.claimed(FULL, "worker-2", NOW)

    assert (head.state, head.attempt, head.fence) == (State.RUNNING, 3, FULL.fence + 1)
    assert (head.session, head.claimed, head.cancel) == ("worker-2", NOW, False)


def test_a_claim_keeps_what_is_known_of_the_job() -> None:
    head = heads.claimed(FULL, "worker-2", NOW)

    for name in ("deaths", "stalls", "parked", "delay_ms", "look_ms", "expires", "reason"):
        assert getattr(head, name) == getattr(FULL, name), name


def test_a_full_concurrency_key_blocks_without_using_up_an_attempt() -> None:
    head = heads.blocked_on(FULL, "tenant-1", NOW)

    assert (head.state, head.blocked_on, head.due) == (State.BLOCKED, "tenant-1", NOW + 1_000)
    assert (head.attempt, head.fence) == (FULL.attempt, FULL.fence + 1)


def test_a_free_slot_makes_the_waiter_due_at_once() -> None:
    blocked = heads.blocked_on(FULL, "tenant-1", NOW)

    head = heads.unblocked(blocked, NOW + 5)

    assert (head.state, head.due, head.blocked_on) == (State.WAITING, NOW + 5, "")
    assert (head.attempt, head.fence) == (FULL.attempt, FULL.fence + 2)


@pytest.mark.promise(4)
def test_an_accepted_change_grows_the_fence_by_one() -> None:
    record = make_record(fence=7)

    assert heads.replaced(record.head, change_of(record, Succeeded()), NOW).fence == 8


def test_a_final_change_says_when_it_finished_and_who_ran_it() -> None:
    record = make_record(session="w-4", claimed=NOW - 80)

    head = heads.replaced(record.head, change_of(record, Succeeded()), NOW)

    assert (head.finished, head.session, head.claimed) == (NOW, "w-4", NOW - 80)


def test_an_accepted_change_clears_the_cancel_flag() -> None:
    record = make_record(cancel=True)

    head = heads.replaced(record.head, change_of(record, make_failure()), NOW)

    assert not head.cancel


def test_the_expiry_outlives_every_change_but_a_new_run() -> None:
    waiting = make_record(State.WAITING, expires=LATER)
    dead = make_record(State.DEAD, expires=LATER)

    moved = heads.replaced(waiting.head, change_of(waiting, RescheduleAsked(due=After(1))), NOW)
    fresh = heads.replaced(dead.head, change_of(dead, RetryAsked()), NOW)

    assert (moved.expires, fresh.expires) == (LATER, 0)


@pytest.mark.parametrize(("expires", "instant"), [(After(500), NOW + 500), (At(77), 77), (None, 0)])
def test_the_expiry_follows_a_new_body(expires: After | At | None, instant: int) -> None:
    waiting = make_record(State.WAITING, expires=LATER)
    asked = RescheduleAsked(due=After(1), job=make_job(expires=expires))

    assert heads.replaced(waiting.head, change_of(waiting, asked), NOW).expires == instant


def test_a_full_concurrency_key_doubles_the_wait_for_the_next_look() -> None:
    head = make_head(State.WAITING, delay_ms=4_000)
    waits: list[int] = []

    for _ in range(8):
        head = heads.blocked_on(head, "tenant-1", NOW)
        waits.append(head.due - NOW)
        record = make_record(State.BLOCKED, blocked_on="tenant-1", look_ms=head.look_ms)
        head = heads.replaced(head, change_of(record, LookedAt()), NOW)

    assert waits == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]


def test_a_look_leaves_the_delay_of_the_last_retry() -> None:
    record = make_record(State.BLOCKED, blocked_on="tenant-1", delay_ms=4_000)

    assert change_of(record, LookedAt()).delay_ms == 4_000


def test_what_happens_to_a_job_that_ran_makes_the_next_look_soon_again() -> None:
    record = make_record(look_ms=32_000)

    assert heads.replaced(record.head, change_of(record, make_failure()), NOW).look_ms == 0


def test_a_kept_due_stays_where_it_was() -> None:
    change = Change(
        queue="default",
        id="job-1",
        fence=7,
        event=Event.RESCHEDULE,
        state=State.WAITING,
        due=KEEP,
        attempt=0,
    )

    assert heads.replaced(make_head(State.WAITING, due=LATER), change, NOW).due == LATER


@pytest.mark.promise(4)
@pytest.mark.parametrize("fence", [6, 8])
def test_a_write_with_another_fence_is_not_accepted(fence: int) -> None:
    change = change_of(make_record(fence=fence), Succeeded())

    assert not heads.accepts(make_head(fence=7), change)


@pytest.mark.promise(4)
def test_a_second_settle_of_the_same_attempt_is_not_accepted() -> None:
    record = make_record()
    change = change_of(record, Succeeded())

    settled = heads.replaced(record.head, change, NOW)

    assert not heads.accepts(settled, change)


def test_a_change_that_is_not_final_is_not_accepted_while_a_cancel_stands() -> None:
    change = change_of(make_record(cancel=False), Interrupted())

    assert not heads.accepts(make_head(cancel=True), change)


def test_a_final_change_is_accepted_while_a_cancel_stands() -> None:
    change = change_of(make_record(cancel=False), Succeeded())

    assert heads.accepts(make_head(cancel=True), change)


@pytest.mark.parametrize("state", [state for state in State if state is not State.RUNNING])
def test_a_cancel_request_needs_a_running_record(state: State) -> None:
    request = CancelRequest(queue="default", id="job-1", fence=7)

    assert not heads.accepts(make_head(state), request)


@pytest.mark.parametrize("state", list(State))
def test_a_removal_needs_a_final_record(state: State) -> None:
    removal = Removal(queue="default", id="job-1", fence=7, remember_ms=0)

    assert heads.accepts(make_head(state), removal) is (state in FINAL)
