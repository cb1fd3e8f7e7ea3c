"""Limits for any text and any size."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import change_of, make_failure, make_record
from tests.support.strategies import TEXT
from treadle.domain.job import ErrorInfo
from treadle.domain.limits import RESULT_TOO_LARGE, Budget, TooDeep, check_depth, clip, trim
from treadle.domain.outcome import Succeeded

NESTED = st.recursive(
    st.none() | st.text('[]{}"\\a', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('[{"\\'), inner, max_size=3)
    ),
    max_leaves=30,
)


def _depth(value: object) -> int:
    match value:
        case list():
            return 1 + max(map(_depth, value), default=0)  # pyright: ignore[reportUnknownArgumentType]  # any JSON
        case dict():
            return 1 + max(map(_depth, value.values()), default=0)  # pyright: ignore[reportUnknownArgumentType]  # any JSON
        case _:
            return 0


@pytest.mark.promise(10)
@given(NESTED, st.integers(0, 6))
def test_a_text_is_refused_exactly_if_it_is_deeper_than_the_limit(
    value: object, limit: int
) -> None:
    text = json.dumps(value).encode()

    try:
        check_depth(text, limit)
        refused = False
    except TooDeep:
        refused = True

    assert refused is (_depth(value) > limit)


@pytest.mark.promise(10)
@given(st.binary(max_size=300))
def test_no_bytes_make_the_check_of_depth_raise_anything_else(text: bytes) -> None:
    with suppress(TooDeep):
        check_depth(text, 3)


@pytest.mark.promise(12)
@given(st.text(max_size=300), st.integers(0, 200))
def test_a_shortened_text_fits_and_keeps_both_ends(text: str, most: int) -> None:
    short = clip(text, most)

    assert len(short) <= most or short == text
    assert text[:1].startswith(short[:1])


@pytest.mark.promise(12)
@given(
    st.integers(0, 60_000),
    st.integers(0, 60_000),
    st.integers(0, 60_000),
    st.integers(8_192, 2**17),
)
def test_a_trimmed_failure_fits_and_keeps_its_fate(
    message: int, traceback: int, ran_ms: int, room: int
) -> None:
    error = ErrorInfo(type="E", message="m" * message, traceback="t" * traceback)
    change = change_of(make_record(), make_failure(error=error, ran_ms=ran_ms))

    trimmed = trim(change, Budget(room))

    assert trimmed.history is not None
    assert trimmed.history.error is not None
    kept = trimmed.history.error
    assert len(kept.message) + len(kept.traceback) <= room // 2
    assert (trimmed.state, trimmed.due, trimmed.reason) == (change.state, change.due, change.reason)


@pytest.mark.promise(12)
@given(st.integers(0, 2**17), st.integers(64, 2**17))
def test_a_result_is_kept_whole_or_replaced_by_its_note(size: int, room: int) -> None:
    change = change_of(make_record(), Succeeded(result=b"1" * size))

    result = trim(change, Budget(room)).result

    assert result == (change.result if size <= room // 2 else RESULT_TOO_LARGE)


@given(TEXT)
def test_a_text_below_the_limit_is_the_same_text(text: str) -> None:
    assert clip(text, len(text)) == text
