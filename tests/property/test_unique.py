"""Unique keys over the whole life of a job."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import INSTANTS, UNIQUES
from treadle.domain.state import FINAL, State
from treadle.domain.unique import Scope, Unique, held_until, holding_states, holds

HOLDERS = st.none() | st.sampled_from(State)


@given(UNIQUES, HOLDERS, INSTANTS, INSTANTS)
def test_a_key_never_holds_for_a_job_that_has_ended_beyond_its_period(
    unique: Unique, holder: State | None, taken: int, later: int
) -> None:
    until = held_until(unique, taken)

    if (holder is None or holder in FINAL) and later >= taken + unique.period_ms:
        assert not holds(holding_states(unique), until, holder, later)


@given(UNIQUES, INSTANTS)
def test_a_key_just_taken_holds(unique: Unique, now: int) -> None:
    held = holds(holding_states(unique), held_until(unique, now), State.WAITING, now)

    assert held is (unique.scope is not Scope.PERIOD or unique.period_ms > 0)


@given(UNIQUES, st.sampled_from(State), INSTANTS)
def test_a_key_that_holds_for_a_running_job_holds_for_a_waiting_one(
    unique: Unique, holder: State, now: int
) -> None:
    mask, until = holding_states(unique), held_until(unique, now)

    if holds(mask, until, holder, now):
        assert holds(mask, until, State.WAITING, now)


@given(UNIQUES, HOLDERS, INSTANTS, st.integers(0, 2**40))
def test_a_key_that_was_free_does_not_hold_again_by_the_passing_of_time(
    unique: Unique, holder: State | None, now: int, passed: int
) -> None:
    mask, until = holding_states(unique), held_until(unique, now)

    if not holds(mask, until, holder, now):
        assert not holds(mask, until, holder, now + passed)
