"""What an action did is told in the words of the states that people see."""

from __future__ import annotations

import pytest

from tests.support.factories import HALF, NOW, change_of, make_record
from treadle.domain.acts import state_after, state_before
from treadle.domain.decide import decide
from treadle.domain.job import DEFAULT_POLICY, After, Record
from treadle.domain.outcome import (
    CancelAsked,
    DiscardAsked,
    Refused,
    RescheduleAsked,
    RetryAsked,
)
from treadle.domain.state import State

Asked = CancelAsked | DiscardAsked | RescheduleAsked | RetryAsked

LATER = make_record(State.WAITING, due=NOW + 1)
AGAIN = make_record(State.WAITING, due=NOW + 1, attempt=1)


@pytest.mark.security(15)
@pytest.mark.parametrize(
    ("record", "asked", "before", "after"),
    [
        (make_record(State.WAITING), CancelAsked(), "queued", "cancelled"),
        (LATER, CancelAsked(), "scheduled", "cancelled"),
        (AGAIN, CancelAsked(), "retrying", "cancelled"),
        (make_record(State.BLOCKED), CancelAsked(), "blocked", "cancelled"),
        (make_record(State.RUNNING), CancelAsked(), "running", "cancel_requested"),
        (make_record(State.DEAD), RetryAsked(), "dead", "queued"),
        (make_record(State.SUCCEEDED), RetryAsked(), "succeeded", "queued"),
        (make_record(State.CANCELLED), DiscardAsked(), "cancelled", "removed"),
        (make_record(State.WAITING), RescheduleAsked(due=After(9)), "queued", "scheduled"),
        (LATER, RescheduleAsked(due=After(0)), "scheduled", "queued"),
    ],
)
def test_an_action_is_told_with_the_states_before_and_after(
    record: Record, asked: Asked, before: str, after: str
) -> None:
    write = decide(record, asked, DEFAULT_POLICY, NOW, HALF)

    assert not isinstance(write, Refused)
    assert (state_before(record, NOW), state_after(record, write, NOW)) == (before, after)


@pytest.mark.security(15)
@pytest.mark.parametrize(
    ("record", "asked", "told"),
    [
        (LATER, CancelAsked(by="ada"), ("scheduled", "cancelled")),
        (LATER, RescheduleAsked(due=After(0), by="ada"), ("scheduled", "queued")),
        (make_record(State.DEAD), RetryAsked(by="ada"), ("dead", "queued")),
    ],
)
def test_the_history_tells_what_was_before_and_after_an_action(
    record: Record, asked: CancelAsked | RescheduleAsked | RetryAsked, told: tuple[str, str]
) -> None:
    row = change_of(record, asked).history

    assert row is not None
    assert (row.by, row.before, row.after) == ("ada", *told)
