"""Ids never repeat and never shrink; a payload that is accepted comes back as it was."""

from __future__ import annotations

import json
import math
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from treadle.domain.job import ErrorInfo
from treadle.domain.limits import JOB_ID, PAYLOAD_BYTES, PAYLOAD_DEPTH
from treadle.domain.outcome import Failed, Rejected
from treadle.errors import PayloadError
from treadle.runtime.arguments import Arguments
from treadle.runtime.failures import failure, readable
from treadle.runtime.ids import Ids
from treadle.runtime.signature import Payload, read


def _take_any(value: Any) -> None: ...


def _take_whole(payload: Payload) -> None: ...


def _take_typed(name: str, count: int = 0, ratio: float | None = None) -> None: ...


ANY = Arguments("any", read("any", _take_any))
WHOLE = Arguments("whole", read("whole", _take_whole))
TYPED = Arguments("typed", read("typed", _take_typed))

# Text without lone surrogates: what UTF-8 can carry.
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
INTEGERS = st.integers(-(2**63), 2**64 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(TEXT, inside, max_size=4),
    max_leaves=20,
)


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=30))
def test_ids_only_grow_whatever_the_wall_clock_does(times: list[int]) -> None:
    left = times * 2
    ids = Ids(left.pop)

    made = [one for _ in times for one in (ids.new(), *ids.many(2))]

    assert made == sorted(set(made))
    assert all(JOB_ID.fullmatch(one) and UUID(one).version == 7 for one in made)


@given(JSON)
@example("\x00")
@example({"": [None, -0.0, 2**64 - 1, -(2**63)]})
def test_any_json_value_comes_back_as_it_was(value: Any) -> None:
    text = ANY.encode(ANY.bind((value,), {}), PAYLOAD_BYTES)

    (back,) = ANY.by_position(text)

    assert back == value
    assert json.loads(text) == {"value": value}


@given(st.dictionaries(TEXT, JSON, max_size=5))
@pytest.mark.contract("F15")
def test_any_json_object_is_a_payload(payload: dict[str, Any]) -> None:
    text = WHOLE.encode(WHOLE.bind((payload,), {}), PAYLOAD_BYTES)

    assert WHOLE.by_name(text) == {"payload": payload}
    assert WHOLE.accept(json.dumps(payload).encode(), PAYLOAD_BYTES)


BAD = st.sampled_from([math.nan, math.inf, -math.inf, 2**64, -(2**63) - 1, 10**400])


def _wrapped(value: Any, path: list[str | int]) -> Any:
    for step in path:
        value = {step: value, "other": None} if isinstance(step, str) else [None] * step + [value]
    return value


@pytest.mark.promise(10)
@given(BAD, st.lists(st.sampled_from(["a", "b"]) | st.integers(0, 2), max_size=6))
def test_a_number_that_json_cannot_carry_is_refused_wherever_it_hides(
    bad: float, path: list[str | int]
) -> None:
    value = _wrapped(bad, path)

    with pytest.raises(PayloadError) as refused:
        ANY.encode(ANY.bind((value,), {}), PAYLOAD_BYTES)

    place: Any = value
    for step in refused.value.path.removeprefix("$.value").replace("[", ".[").split(".")[1:]:
        place = place[int(step[1:-1])] if step.startswith("[") else place[step]
    assert place is bad or place == bad


@pytest.mark.promise(10)
@given(st.integers(1, 200))
def test_a_payload_nests_as_deep_as_the_limit_and_no_deeper(levels: int) -> None:
    value = cast("Any", [])
    for _ in range(levels - 1):
        value = [value]

    accepted = True
    try:
        text = ANY.encode({"value": value}, PAYLOAD_BYTES)
    except PayloadError:
        accepted = False
    else:
        assert ANY.by_position(text) == (value,)

    assert accepted == (levels + 1 <= PAYLOAD_DEPTH)


@pytest.mark.promise(10)
@given(st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()))
@example(b'{"name": "\\ud800"}')
@example(b'{"name": "a", "ratio": 1e999}')
@example(b"{" * 10_000)
def test_whatever_is_stored_runs_or_is_rejected_in_words(text: bytes) -> None:
    for arguments in (ANY, WHOLE, TYPED):
        try:
            values = arguments.by_position(text)
        except Exception as error:  # noqa: BLE001 - each of them must become a rejection
            rejected = arguments.rejected(text, error)
            assert isinstance(rejected, Rejected)
            assert rejected.error.message.encode()
        else:
            assert isinstance(values, tuple)


@pytest.mark.promise(10)
@given(st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()))
def test_json_from_elsewhere_is_accepted_only_if_it_will_run(text: bytes) -> None:
    for arguments in (ANY, WHOLE, TYPED):
        try:
            accepted = arguments.accept(text, PAYLOAD_BYTES)
        except PayloadError as error:
            assert "Nothing was enqueued" in str(error)  # noqa: PT017 - it may also be accepted
        else:
            assert arguments.by_position(accepted) is not None


@pytest.mark.promise(10)
@given(st.text())
def test_the_text_of_any_exception_can_be_stored(text: str) -> None:
    outcome = failure(ValueError(text))

    assert isinstance(outcome, Failed)
    info: ErrorInfo = outcome.error
    assert info.message.encode() is not None
    assert info.traceback.encode()
    assert readable(readable(text)) == readable(text)
