"""Results: kept as JSON, given back as the type that the function says it returns."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from treadle.domain.limits import RESULT_BYTES, RESULT_TOO_LARGE, RESULT_UNSERIALISABLE
from treadle.errors import JobError, ResultGone
from treadle.runtime.results import Results


@dataclasses.dataclass
class Receipt:
    id: UUID
    paid: Decimal
    at: dt.datetime


class Foreign:
    """A class that JSON does not know."""


def test_a_result_comes_back_as_the_annotated_type() -> None:
    def pay() -> list[Receipt]: ...  # type: ignore[empty-body]

    results = Results(pay)
    value = [Receipt(UUID(int=1), Decimal("1.10"), dt.datetime(2025, 1, 1, tzinfo=dt.UTC))]

    assert results.decode(results.encode(value)) == value


def test_no_result_stores_nothing() -> None:
    def nothing() -> None: ...

    assert Results(nothing).encode(None) is None
    assert Results(nothing).decode(None) is None


def test_without_an_annotation_that_json_knows_a_result_is_plain_json() -> None:
    def unknown():  # type: ignore[no-untyped-def]
        ...

    def foreign() -> Foreign: ...  # type: ignore[empty-body]

    for function in (unknown, foreign):
        assert Results(function).decode(b'{"a":[1]}') == {"a": [1]}


_LOOP: list[Any] = []
_LOOP.append(_LOOP)


@pytest.mark.promise(10)
@pytest.mark.parametrize(
    "value",
    [object(), Foreign(), lambda: None, {1j: 2}, "\ud800", float("nan"), [float("inf")], _LOOP],
    ids=["object", "foreign", "function", "complex", "surrogate", "nan", "inf", "loop"],
)
def test_a_result_that_json_cannot_carry_leaves_a_note(
    value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def function() -> Any: ...

    results = Results(function, "email.send")

    with caplog.at_level(logging.WARNING, "treadle.handlers"):
        stored = results.encode(value)

    assert stored == RESULT_UNSERIALISABLE
    assert [record.message for record in caplog.records] == ["result_unserialisable"]
    with pytest.raises(ResultGone, match="the job succeeded, but"):
        results.decode(stored)


@pytest.mark.promise(12)
def test_a_result_over_a_mebibyte_leaves_a_note() -> None:
    def function() -> str: ...  # type: ignore[empty-body]

    results = Results(function, "email.send")

    assert results.encode("x" * (RESULT_BYTES - 2)) == b'"' + b"x" * (RESULT_BYTES - 2) + b'"'
    assert results.encode("x" * (RESULT_BYTES - 1)) == RESULT_TOO_LARGE
    with pytest.raises(ResultGone, match="too large"):
        results.decode(RESULT_TOO_LARGE)


def test_a_none_inside_a_result_is_no_reason_to_refuse_it() -> None:
    def function() -> Any: ...

    assert Results(function).encode({"a": None, "n": 2**70}) == b'{"a":null,"n":%d}' % 2**70


def test_a_result_that_breaks_its_annotation_is_told_to_the_caller() -> None:
    def function() -> int: ...  # type: ignore[empty-body]

    with pytest.raises(JobError, match="the result does not fit"):
        Results(function, "email.send").decode(b'"three"')
