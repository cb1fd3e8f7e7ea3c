"""A job that nobody here can run waits for a worker that can."""

from __future__ import annotations

import pytest

from tests.support.factories import NOW, change_of, make_record
from treadle.domain import head as heads
from treadle.domain.job import After, Head, Record
from treadle.domain.outcome import Change, Parked
from treadle.domain.state import Reason, State

UNKNOWN = Parked(reason=Reason.UNKNOWN_TYPE, detail="no handler for 'email.sned'")
NEWER = Parked(reason=Reason.UNSUPPORTED_VERSION)
MINUTE_MS = 60_000


def _looks(happening: Parked, until_ms: int) -> list[Change]:
    """Park a job again and again, each time exactly when it is due."""
    record = make_record(State.WAITING, due=NOW)
    changes: list[Change] = []
    now = NOW
    while now - NOW <= until_ms and record.head.state is State.WAITING:
        head = heads.claimed(record.head, "w-1", now)
        changes.append(change_of(_with(record, head), happening, now=now))
        record = _with(record, heads.replaced(head, changes[-1], now))
        now = record.head.due
    return changes


def _with(record: Record, head: Head) -> Record:
    return Record(job=record.job, head=head, created=record.created)


@pytest.mark.promise(10)
@pytest.mark.contract("F11")
def test_an_unknown_type_waits_and_its_attempt_is_given_back() -> None:
    change = change_of(make_record(attempt=1), UNKNOWN)

    assert (change.state, change.attempt, change.reason) == (State.WAITING, 0, "unknown_type")


@pytest.mark.promise(10)
def test_the_first_wait_is_one_second_and_each_next_one_doubles_up_to_thirty() -> None:
    waits = [change.due for change in _looks(UNKNOWN, 2 * MINUTE_MS)]

    seconds = [1, 2, 4, 8, 16, 30, 30]
    assert waits[:7] == [After(1_000 * wait) for wait in seconds]


@pytest.mark.promise(10)
@pytest.mark.contract("F11")
def test_an_unknown_type_is_dead_after_ten_minutes() -> None:
    last = _looks(UNKNOWN, 60 * MINUTE_MS)[-1]

    assert (last.state, last.reason, last.attempt) == (State.DEAD, "unknown_type", 0)
    assert last.history is not None
    assert 10 * MINUTE_MS <= last.history.at - NOW <= 10 * MINUTE_MS + 30_000


def test_an_unknown_type_is_not_dead_one_moment_earlier() -> None:
    record = make_record(parked=NOW - 10 * MINUTE_MS + 1)

    assert change_of(record, UNKNOWN).state is State.WAITING


@pytest.mark.promise(10)
def test_the_dead_letter_names_the_type() -> None:
    change = change_of(make_record(parked=NOW - 10 * MINUTE_MS), UNKNOWN)

    assert change.history is not None
    assert change.history.error is not None
    assert change.history.error.message == "no handler for 'email.sned'"


@pytest.mark.promise(10)
def test_a_record_of_a_newer_version_waits_without_end() -> None:
    record = make_record(parked=NOW - 365 * 24 * 60 * MINUTE_MS)

    change = change_of(record, NEWER)

    assert (change.state, change.due) == (State.WAITING, After(30_000))


def test_the_first_time_is_kept_and_leaves_the_only_row() -> None:
    changes = _looks(UNKNOWN, MINUTE_MS)

    assert {change.parked for change in changes} == {NOW}
    assert [change.history is not None for change in changes] == [True] + [False] * (
        len(changes) - 1
    )


@pytest.mark.promise(11)
def test_a_clock_that_went_back_does_not_shorten_the_wait() -> None:
    change = change_of(make_record(parked=NOW + 5_000), UNKNOWN)

    assert change.due == After(1_000)


@pytest.mark.promise(7)
def test_parking_does_not_clear_deaths() -> None:
    assert change_of(make_record(deaths=2, stalls=3), UNKNOWN).deaths == 2
