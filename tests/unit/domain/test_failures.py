"""What a failure means: another attempt, or the dead letters and why."""

from __future__ import annotations

import pytest

from tests.support.factories import NOW, change_of, make_failure, make_record
from treadle.domain.job import After, At, ErrorInfo, OnCrash, Policy
from treadle.domain.outcome import Rejected, Snoozed
from treadle.domain.retry import Delays, Exponential, Fixed, Jitter
from treadle.domain.state import Reason, State

PLAIN = Exponential(base_ms=1_000, jitter=Jitter.NONE)


@pytest.mark.contract("F02")
@pytest.mark.parametrize("attempt", [1, 2, 3])
def test_a_failure_before_the_last_attempt_waits_for_another(attempt: int) -> None:
    change = change_of(make_record(attempt=attempt), make_failure(), Policy(max_attempts=4))

    assert (change.state, change.attempt) == (State.WAITING, attempt)


@pytest.mark.contract("F02")
def test_a_failure_of_the_last_attempt_is_dead_and_exhausted() -> None:
    change = change_of(make_record(attempt=4), make_failure(), Policy(max_attempts=4))

    assert (change.state, change.reason, change.attempt) == (State.DEAD, "exhausted", 4)


@pytest.mark.contract("F02")
def test_three_retries_are_the_default() -> None:
    assert Policy().max_attempts == 4


def test_no_retries_means_one_attempt() -> None:
    change = change_of(make_record(attempt=1), make_failure(), Policy(max_attempts=1))

    assert change.state is State.DEAD


@pytest.mark.contract("F03")
@pytest.mark.parametrize(("attempt", "delay"), [(1, 1_000), (2, 2_000), (3, 4_000)])
def test_the_delay_counts_the_failures_before_this_one(attempt: int, delay: int) -> None:
    change = change_of(make_record(attempt=attempt), make_failure(), Policy(retry=PLAIN))

    assert change.due == After(delay)


def test_the_chosen_delay_is_kept_for_the_next_one() -> None:
    policy = Policy(retry=Exponential(base_ms=1_000, jitter=Jitter.DECORRELATED))

    first = change_of(make_record(attempt=1), make_failure(), policy)
    second = change_of(make_record(attempt=2, delay_ms=first.delay_ms), make_failure(), policy)

    assert (first.delay_ms, second.delay_ms) == (2_000, 3_500)


def test_a_list_of_delays_is_walked_and_its_last_repeats() -> None:
    policy = Policy(max_attempts=9, retry=Delays(delays_ms=(10, 500)))

    dues = [change_of(make_record(attempt=n), make_failure(), policy).due for n in (1, 2, 3, 4)]

    assert dues == [After(10), After(500), After(500), After(500)]


@pytest.mark.parametrize("wish", [After(7), At(NOW + 70)])
def test_the_handlers_own_delay_replaces_that_of_the_policy(wish: After | At) -> None:
    change = change_of(make_record(), make_failure(retry_after=wish), Policy(retry=PLAIN))

    assert (change.state, change.due) == (State.WAITING, wish)


@pytest.mark.parametrize(
    "policy",
    [
        Policy(retry=PLAIN, give_up_on=("builtins.Exception",)),
        Policy(retry=PLAIN, retry_on=("builtins.OSError",)),
        Policy(retry=PLAIN, retry_on=("builtins.OSError",), give_up_on=("builtins.ValueError",)),
    ],
)
def test_a_retry_that_the_handler_asks_for_wins_over_both_lists(policy: Policy) -> None:
    change = change_of(make_record(), make_failure(again=True), policy)

    assert (change.state, change.due) == (State.WAITING, After(1_000))


def test_a_retry_that_the_handler_asks_for_needs_an_attempt_that_is_left() -> None:
    change = change_of(make_record(attempt=4), make_failure(again=True), Policy(max_attempts=4))

    assert (change.state, change.reason) == (State.DEAD, "exhausted")


def test_the_handlers_own_delay_leaves_the_delay_kept_before() -> None:
    change = change_of(make_record(delay_ms=80), make_failure(retry_after=After(7)))

    assert change.delay_ms == 80


def test_the_handlers_wish_for_a_retry_uses_up_an_attempt() -> None:
    failure = make_failure(retry_after=After(7))

    change = change_of(make_record(attempt=4), failure, Policy(max_attempts=4))

    assert change.state is State.DEAD


def test_giving_up_is_dead_at_once() -> None:
    change = change_of(make_record(attempt=1), make_failure(give_up=True))

    assert (change.state, change.reason) == (State.DEAD, "given_up")


def test_an_exception_of_the_give_up_list_is_not_retried() -> None:
    policy = Policy(give_up_on=("builtins.ValueError",))

    change = change_of(make_record(), make_failure(), policy)

    assert (change.state, change.reason) == (State.DEAD, "given_up")


def test_a_base_class_in_the_give_up_list_counts() -> None:
    policy = Policy(give_up_on=("builtins.Exception",))

    change = change_of(make_record(), make_failure(), policy)

    assert change.reason == "given_up"


def test_an_exception_outside_the_retry_list_is_not_retried() -> None:
    policy = Policy(retry_on=("builtins.OSError",))

    change = change_of(make_record(), make_failure(), policy)

    assert (change.state, change.reason) == (State.DEAD, "given_up")


def test_an_exception_of_the_retry_list_is_retried() -> None:
    policy = Policy(retry_on=("builtins.ValueError",))

    change = change_of(make_record(), make_failure(), policy)

    assert change.state is State.WAITING


def test_the_give_up_list_wins_over_the_retry_list() -> None:
    both = ("builtins.ValueError",)

    change = change_of(make_record(), make_failure(), Policy(retry_on=both, give_up_on=both))

    assert change.reason == "given_up"


def test_a_handler_that_asks_for_a_retry_gets_it_whatever_the_retry_list_says() -> None:
    wish = make_failure(retry_after=After(7), kinds=("treadle.Retry",))

    change = change_of(make_record(), wish, Policy(retry_on=("builtins.OSError",)))

    assert change.state is State.WAITING


def test_a_timeout_of_the_last_attempt_is_listed_as_timeout() -> None:
    failure = make_failure(reason=Reason.TIMEOUT)

    change = change_of(make_record(attempt=4), failure, Policy(max_attempts=4))

    assert (change.state, change.reason) == (State.DEAD, "timeout")


def test_a_timeout_before_the_last_attempt_is_retried() -> None:
    change = change_of(make_record(attempt=1), make_failure(reason=Reason.TIMEOUT))

    assert change.state is State.WAITING


@pytest.mark.promise(4)
def test_a_job_that_may_run_at_most_once_is_not_retried() -> None:
    change = change_of(make_record(attempt=1), make_failure(), Policy(on_crash=OnCrash.DEAD))

    assert (change.state, change.reason) == (State.DEAD, "exhausted")


def test_the_history_keeps_the_error() -> None:
    failure = make_failure(ran_ms=12)

    row = change_of(make_record(), failure).history

    assert row is not None
    assert (row.event, row.error, row.ran_ms) == ("fail", failure.error, 12)


@pytest.mark.promise(7)
def test_a_failure_clears_the_deaths_since_the_process_lived() -> None:
    change = change_of(make_record(deaths=2), make_failure())

    assert change.deaths == 0


def test_a_failure_ends_the_time_it_was_parked() -> None:
    change = change_of(make_record(parked=NOW - 9_000), make_failure())

    assert change.parked == 0


@pytest.mark.promise(10)
@pytest.mark.parametrize(
    "reason",
    [Reason.BAD_ARGUMENTS, Reason.UNDECODABLE, Reason.BAD_ENVELOPE],
)
def test_a_rejected_job_is_dead_at_once_under_its_own_word(reason: Reason) -> None:
    error = ErrorInfo(type="PayloadError", message="'to' must be str, got int (at $.to)")

    change = change_of(make_record(attempt=1), Rejected(reason=reason, error=error))

    assert (change.state, change.reason) == (State.DEAD, reason.value)
    assert change.history is not None
    assert change.history.error == error


@pytest.mark.parametrize("due", [After(60_000), At(NOW + 5)])
def test_a_snooze_waits_as_long_as_the_handler_said(due: After | At) -> None:
    change = change_of(make_record(), Snoozed(due=due))

    assert (change.state, change.due) == (State.WAITING, due)


def test_a_snooze_uses_up_no_attempt() -> None:
    change = change_of(make_record(attempt=4), Snoozed(due=After(5)), Policy(max_attempts=4))

    assert (change.state, change.attempt) == (State.WAITING, 3)


@pytest.mark.promise(7)
def test_a_snooze_clears_deaths_and_stalls_since_the_process_lived() -> None:
    change = change_of(make_record(deaths=2, stalls=5), Snoozed(due=After(5)))

    assert (change.deaths, change.stalls) == (0, 0)


def test_a_snooze_keeps_the_delay_of_the_last_retry() -> None:
    record = make_record(attempt=2, delay_ms=4_000)

    change = change_of(record, Snoozed(due=After(5)), Policy(retry=Fixed(delay_ms=1)))

    assert change.delay_ms == 4_000
