"""`decide` for every state, everything that may happen, and any head."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.factories import HALF
from tests.support.strategies import HAPPENINGS, INSTANTS, POLICIES, records
from treadle.domain import head as heads
from treadle.domain.decide import decide
from treadle.domain.job import Policy, Record
from treadle.domain.outcome import (
    CancelRequest,
    Change,
    Failed,
    Happening,
    Refused,
    Removal,
    RetryAsked,
    Succeeded,
)
from treadle.domain.retry import cap_ms
from treadle.domain.state import FINAL, TRANSITIONS, Event, State

RUNNING = records(st.just(State.RUNNING))


@pytest.mark.promise(4, 15)
@settings(max_examples=500)
@given(records(), HAPPENINGS, POLICIES, INSTANTS, st.randoms(use_true_random=False))
def test_it_never_raises_and_never_leaves_the_table(
    record: Record, happening: Happening, policy: Policy, now: int, rng: Random
) -> None:
    answer = decide(record, happening, policy, now, rng)

    origin = record.head.state
    match answer:
        case Change():
            assert answer.state in TRANSITIONS[origin, answer.event]
        case CancelRequest():
            assert (origin, Event.REQUEST_CANCEL) in TRANSITIONS
        case Removal():
            assert None in TRANSITIONS[origin, Event.DISCARD]
        case Refused():
            assert answer.detail


@pytest.mark.promise(4)
@settings(max_examples=500)
@given(records(), HAPPENINGS, POLICIES, INSTANTS)
def test_the_record_it_was_decided_for_accepts_the_write(
    record: Record, happening: Happening, policy: Policy, now: int
) -> None:
    answer = decide(record, happening, policy, now, HALF)

    assert isinstance(answer, Refused) or heads.accepts(record.head, answer)


@pytest.mark.promise(4)
@given(records(st.sampled_from(sorted(FINAL))), HAPPENINGS, POLICIES, INSTANTS)
def test_a_final_record_is_left_by_retry_and_discard_alone(
    record: Record, happening: Happening, policy: Policy, now: int
) -> None:
    answer = decide(record, happening, policy, now, HALF)

    match answer:
        case Change():
            assert isinstance(happening, RetryAsked)
        case CancelRequest():
            pytest.fail("a final record runs no more")
        case Removal() | Refused():
            pass


@pytest.mark.promise(7)
@given(RUNNING, HAPPENINGS, POLICIES, INSTANTS)
def test_an_attempt_is_taken_back_once_at_most_and_never_added(
    record: Record, happening: Happening, policy: Policy, now: int
) -> None:
    answer = decide(record, happening, policy, now, HALF)

    if isinstance(answer, Change):
        assert record.head.attempt - 1 <= answer.attempt <= record.head.attempt


@pytest.mark.promise(4)
@given(RUNNING, HAPPENINGS, POLICIES, INSTANTS)
def test_a_job_whose_cancel_was_requested_never_waits_again(
    record: Record, happening: Happening, policy: Policy, now: int
) -> None:
    answer = decide(record, happening, policy, now, HALF)

    if record.head.cancel and isinstance(answer, Change):
        assert answer.state in FINAL


@given(records(), HAPPENINGS, POLICIES, INSTANTS)
def test_a_dead_job_always_has_a_reason(
    record: Record, happening: Happening, policy: Policy, now: int
) -> None:
    answer = decide(record, happening, policy, now, HALF)

    if isinstance(answer, Change) and answer.state in {State.DEAD, State.CANCELLED}:
        assert answer.reason
        assert answer.history is not None
        assert answer.history.reason == answer.reason


@given(records(), HAPPENINGS, POLICIES, INSTANTS)
def test_only_success_has_a_result(
    record: Record, happening: Happening, policy: Policy, now: int
) -> None:
    answer = decide(record, happening, policy, now, HALF)

    if isinstance(answer, Change) and answer.result is not None:
        assert isinstance(happening, Succeeded)


@given(RUNNING, HAPPENINGS, POLICIES, st.randoms(use_true_random=False))
def test_the_policy_never_waits_longer_than_its_cap(
    record: Record, happening: Happening, policy: Policy, rng: Random
) -> None:
    answer = decide(record, happening, policy, 0, rng)

    ours = isinstance(happening, Failed) and happening.retry_after is None
    if ours and isinstance(answer, Change) and answer.state is State.WAITING:
        assert 0 <= answer.delay_ms <= cap_ms(policy.retry)


@given(records(), HAPPENINGS, POLICIES, INSTANTS, st.integers(0, 2**32))
def test_the_same_question_has_the_same_answer(
    record: Record, happening: Happening, policy: Policy, now: int, seed: int
) -> None:
    first = decide(record, happening, policy, now, Random(seed))
    second = decide(record, happening, policy, now, Random(seed))

    assert first == second
