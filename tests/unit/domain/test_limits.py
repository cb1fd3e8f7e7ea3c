"""What is too large is refused, shortened or replaced, and always says so."""

from __future__ import annotations

import json

import pytest

from tests.support.factories import change_of, make_failure, make_record
from treadle.domain.job import ErrorInfo
from treadle.domain.limits import (
    JOB_ID,
    NAME,
    RESULT_TOO_LARGE,
    RESULT_UNSERIALISABLE,
    Budget,
    TooDeep,
    check_depth,
    clip,
    clip_bytes,
    trim,
)
from treadle.domain.outcome import Succeeded

BUDGET = Budget(20_000)


def _nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.promise(10)
def test_a_text_at_the_limit_of_depth_is_accepted() -> None:
    check_depth(_nested(64))


@pytest.mark.promise(10)
@pytest.mark.parametrize("text", [_nested(65), b'{"a":' * 65 + b"1" + b"}" * 65, _nested(100_000)])
def test_a_text_one_level_deeper_is_refused(text: bytes) -> None:
    with pytest.raises(TooDeep, match="deeper than 64 levels"):
        check_depth(text)


def test_a_text_with_more_brackets_than_levels_may_reach_the_limit() -> None:
    check_depth(b"[[],[]," + _nested(63) + b"]")


def test_many_brackets_beside_each_other_are_not_deep() -> None:
    check_depth(b"[" + b"[],{}," * 500 + b"1]")


def test_brackets_inside_of_strings_do_not_count() -> None:
    check_depth(json.dumps(["[" * 500, '"[{\\"' * 100]).encode())


def test_a_string_that_ends_is_over() -> None:
    with pytest.raises(TooDeep):
        check_depth(rb'["a\\",' + _nested(64) + b"]")


def test_a_short_text_is_left_alone() -> None:
    assert clip("abc", 3) == "abc"


def test_a_long_text_loses_its_middle() -> None:
    text = clip("a" * 500 + "b" * 500, 100)

    assert (text[:1], text[-1:], "shortened" in text) == ("a", "b", True)


@pytest.mark.parametrize("most", range(40))
def test_a_shortened_text_is_never_longer_than_asked(most: int) -> None:
    assert len(clip("x" * 200, most)) <= most


@pytest.mark.promise(12)
def test_a_change_that_fits_is_left_alone() -> None:
    change = change_of(make_record(), Succeeded(result=b"1" * 9_000))

    assert trim(change, BUDGET) is change


@pytest.mark.promise(10)
def test_a_result_that_does_not_fit_is_replaced_by_a_note_and_the_success_stays() -> None:
    change = change_of(make_record(), Succeeded(result=b"1" * 11_000))

    trimmed = trim(change, BUDGET)

    assert trimmed.result == RESULT_TOO_LARGE
    assert trimmed.state is change.state


@pytest.mark.promise(12)
def test_an_error_that_does_not_fit_is_shortened() -> None:
    error = ErrorInfo(type="E", message="m" * 9_000, traceback="t" * 50_000)

    trimmed = trim(change_of(make_record(), make_failure(error=error)), BUDGET)

    assert trimmed.history is not None
    assert trimmed.history.error is not None
    assert "shortened" in trimmed.history.error.traceback
    assert len(trimmed.history.error.message) + len(trimmed.history.error.traceback) <= 10_000


@pytest.mark.promise(12)
@pytest.mark.parametrize("sign", ["\u00e4", "\u20ac", "\U0001f600"])
def test_an_error_is_counted_in_bytes(sign: str) -> None:
    error = ErrorInfo(type="E", message=sign * 3_000, traceback=sign * 4_000)

    trimmed = trim(change_of(make_record(), make_failure(error=error)), BUDGET)

    assert trimmed.history is not None
    kept = trimmed.history.error
    assert kept is not None
    assert len(kept.message.encode()) + len(kept.traceback.encode()) <= 10_000
    assert kept.message.startswith(sign)
    assert kept.message.endswith(sign)


def test_a_long_text_loses_no_half_of_a_character() -> None:
    text = clip_bytes("\u20ac" * 100, 61)

    assert len(text.encode()) <= 61
    assert set(text) - set("\n[... shortened ...]\n") == {"\u20ac"}


@pytest.mark.parametrize("most", range(40))
def test_a_text_shortened_by_bytes_is_never_longer_than_asked(most: int) -> None:
    assert len(clip_bytes("\u00e4" * 200, most).encode()) <= most


def test_what_is_no_text_is_counted_and_shortened_all_the_same() -> None:
    assert len(clip_bytes("\ud800" * 100, 60).encode()) <= 60


@pytest.mark.parametrize("note", [RESULT_TOO_LARGE, RESULT_UNSERIALISABLE])
def test_the_notes_in_the_place_of_results_are_json(note: bytes) -> None:
    assert json.loads(note)["treadle"].startswith("result_")


@pytest.mark.parametrize("name", ["email.send", "a", "A-1_b", "x" * 128])
def test_names_of_queues_and_types(name: str) -> None:
    assert NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "a b", "a*", "a>", "a/b", "ä", "a\n", "x" * 129])
def test_what_is_no_name(name: str) -> None:
    assert not NAME.fullmatch(name)


@pytest.mark.parametrize("id", ["cron:nightly:2026-01-01T02:30", "order/7/1", "x" * 128])
def test_ids_may_hold_colons_and_slashes(id: str) -> None:
    assert JOB_ID.fullmatch(id)


@pytest.mark.parametrize("id", ["", "a b", "a\n", "é", "x" * 129])
def test_what_is_no_id(id: str) -> None:
    assert not JOB_ID.fullmatch(id)
