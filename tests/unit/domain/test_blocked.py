"""A blocked job: looked at again and again until what it waits for has ended."""

from __future__ import annotations

import pytest

from tests.support.factories import NOW, change_of, make_job, make_record
from treadle.domain import head as heads
from treadle.domain.job import NOW as AT_ONCE
from treadle.domain.job import After, Ref
from treadle.domain.outcome import LookedAt
from treadle.domain.state import Event, State

ONE, TWO = Ref("default", "one"), Ref("mail", "two")
CHILD = make_job(after=(ONE, TWO))


@pytest.mark.parametrize("state", [State.BLOCKED, State.WAITING, State.RUNNING])
def test_a_parent_that_has_not_ended_keeps_it_blocked(state: State) -> None:
    change = change_of(make_record(State.BLOCKED, job=CHILD), LookedAt(parents=((ONE, state),)))

    assert (change.state, change.event) == (State.BLOCKED, Event.BLOCK)


def test_looks_come_after_one_second_doubling_to_sixty() -> None:
    record = make_record(State.BLOCKED, job=CHILD)
    waits: list[int] = []

    for _ in range(8):
        change = change_of(record, LookedAt(parents=((ONE, State.RUNNING),)))
        waits.append(change.look_ms)
        assert change.due == After(change.look_ms)
        record = make_record(State.BLOCKED, job=CHILD, look_ms=change.look_ms)

    assert waits == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]


def test_a_look_that_finds_it_still_blocked_leaves_no_row() -> None:
    record = make_record(State.BLOCKED, job=CHILD)

    assert change_of(record, LookedAt(parents=((ONE, State.RUNNING),))).history is None


def test_only_the_parents_that_have_not_ended_remain() -> None:
    seen = LookedAt(parents=((ONE, State.SUCCEEDED), (TWO, State.RUNNING)))

    change = change_of(make_record(State.BLOCKED, job=CHILD), seen)

    assert change.edges == (TWO,)


def test_it_waits_when_all_parents_have_succeeded() -> None:
    seen = LookedAt(parents=((ONE, State.SUCCEEDED), (TWO, State.SUCCEEDED)))

    change = change_of(make_record(State.BLOCKED, job=CHILD), seen)

    assert (change.state, change.due, change.edges) == (State.WAITING, AT_ONCE, ())


def test_its_own_delay_counts_from_the_look_that_frees_it() -> None:
    job = make_job(after=(ONE,), due=After(5_000))

    change = change_of(
        make_record(State.BLOCKED, job=job), LookedAt(parents=((ONE, State.SUCCEEDED),))
    )

    assert change.due == After(5_000)


@pytest.mark.parametrize("ended", [State.DEAD, State.CANCELLED, None])
def test_a_parent_without_success_cancels_it(ended: State | None) -> None:
    seen = LookedAt(parents=((ONE, State.RUNNING), (TWO, ended)))

    change = change_of(make_record(State.BLOCKED, job=CHILD), seen)

    assert (change.state, change.reason, change.edges) == (State.CANCELLED, "parent", ())


@pytest.mark.parametrize("ended", [State.DEAD, State.CANCELLED, None])
def test_one_that_runs_anyway_does_not_care_how_its_parent_ended(ended: State | None) -> None:
    job = make_job(after=(ONE,), run_anyway=True)

    change = change_of(make_record(State.BLOCKED, job=job), LookedAt(parents=((ONE, ended),)))

    assert change.state is State.WAITING


def test_one_that_runs_anyway_still_waits_for_the_others() -> None:
    job = make_job(after=(ONE, TWO), run_anyway=True)
    seen = LookedAt(parents=((ONE, State.DEAD), (TWO, State.RUNNING)))

    change = change_of(make_record(State.BLOCKED, job=job), seen)

    assert (change.state, change.edges) == (State.BLOCKED, (TWO,))


def test_one_that_waits_for_a_concurrency_key_is_free_at_the_next_look() -> None:
    record = make_record(State.BLOCKED, job=make_job(key="tenant-1"), blocked_on="tenant-1")

    change = change_of(record, LookedAt())

    assert (change.state, change.due, change.edges) == (State.WAITING, AT_ONCE, None)
    assert heads.replaced(record.head, change, NOW).blocked_on == ""


def test_a_look_uses_up_no_attempt_and_forgives_nothing() -> None:
    record = make_record(State.BLOCKED, attempt=2, deaths=1, stalls=3)

    change = change_of(record, LookedAt())

    assert (change.attempt, change.deaths, change.stalls) == (2, 1, 3)
