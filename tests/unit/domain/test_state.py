"""The table of transitions, and the states as people see them."""

from __future__ import annotations

import pytest

from tests.support.factories import NOW
from treadle.domain.state import FINAL, TRANSITIONS, Event, Shown, State, shown


def test_the_stored_numbers_never_change() -> None:
    assert {state.name: int(state) for state in State} == {
        "BLOCKED": 0,
        "WAITING": 1,
        "RUNNING": 2,
        "SUCCEEDED": 3,
        "DEAD": 4,
        "CANCELLED": 5,
    }


@pytest.mark.promise(4)
@pytest.mark.parametrize("state", sorted(FINAL))
def test_a_final_state_is_left_by_retry_and_discard_alone(state: State) -> None:
    leaving = {event for (origin, event) in TRANSITIONS if origin is state}

    assert leaving == {Event.RETRY, Event.DISCARD}


def test_every_event_has_a_place_in_the_table() -> None:
    assert {event for _, event in TRANSITIONS} == set(Event)


def test_every_state_can_be_reached_from_nothing() -> None:
    reached: set[State | None] = {None}
    for _ in State:
        reached |= {
            to for (origin, _), tos in TRANSITIONS.items() if origin in reached for to in tos
        }

    assert reached == {None, *State}


@pytest.mark.parametrize("state", [state for state in State if state not in FINAL])
def test_no_state_is_a_trap(state: State) -> None:
    reached: set[State | None] = {state}
    for _ in State:
        reached |= {
            to for (origin, _), tos in TRANSITIONS.items() if origin in reached for to in tos
        }

    assert reached >= FINAL


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS[None, Event.CLAIM] = frozenset()  # type: ignore[index]  # the point of the test


@pytest.mark.parametrize(
    ("state", "due", "attempt", "expected"),
    [
        (State.WAITING, NOW, 0, Shown.QUEUED),
        (State.WAITING, NOW - 1, 3, Shown.QUEUED),
        (State.WAITING, NOW + 1, 0, Shown.SCHEDULED),
        (State.WAITING, NOW + 1, 1, Shown.RETRYING),
        (State.BLOCKED, NOW + 1, 0, Shown.BLOCKED),
        (State.RUNNING, NOW - 1, 1, Shown.RUNNING),
        (State.SUCCEEDED, NOW + 1, 1, Shown.SUCCEEDED),
        (State.DEAD, NOW + 1, 4, Shown.DEAD),
        (State.CANCELLED, NOW + 1, 0, Shown.CANCELLED),
    ],
)
def test_what_people_see_follows_from_state_time_and_attempts(
    state: State, due: int, attempt: int, expected: Shown
) -> None:
    assert shown(state, due=due, attempt=attempt, now=NOW) is expected
