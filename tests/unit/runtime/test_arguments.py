"""Payloads: bound, checked when enqueued and when run, for every type that JSON can carry."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pytest

from tests.support.source import ROOT
from treadle import Jobs
from treadle.domain.limits import PAYLOAD_BYTES, PAYLOAD_BYTES_HARD
from treadle.domain.outcome import Rejected
from treadle.domain.state import Reason
from treadle.errors import PayloadError, TooLarge
from treadle.runtime.arguments import Arguments
from treadle.runtime.signature import Payload, read


class Color(Enum):
    RED = "red"


@dataclasses.dataclass
class Address:
    street: str
    zip: int = 0


class Order(msgspec.Struct):
    id: int
    address: Address | None = None


class Point(NamedTuple):
    x: int
    y: int


class Options(TypedDict, total=False):
    deep: bool


def _arguments(function: Callable[..., Any]) -> Arguments:
    return Arguments("email.send", read("email.send", function))


def _send(to: str, subject: str = "Welcome!", count: int = 1) -> None: ...


SEND = _arguments(_send)


def _encode(arguments: Arguments, *args: Any, **kwargs: Any) -> bytes:
    return arguments.encode(arguments.bind(args, kwargs), PAYLOAD_BYTES)


# Round trips


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (str, "Grüße \x00 \U0001f600"),
        (int, -(2**63)),
        (int, 2**64 - 1),
        (float, 1e300),
        (float, 3),
        (bool, True),
        (bytes, b"\xff\x00"),
        (type(None), None),
        (str | None, None),
        (int | str, 3),
        (Literal["a", "b"], "b"),
        (Color, Color.RED),
        (Decimal, Decimal("19.990")),
        (UUID, UUID(int=5)),
        (dt.datetime, dt.datetime(2025, 6, 30, 12, tzinfo=dt.UTC)),
        (dt.date, dt.date(2025, 6, 30)),
        (dt.time, dt.time(1, 2, 3)),
        (dt.timedelta, dt.timedelta(seconds=90)),
        (list[int], [1, 2]),
        (tuple[int, str], (1, "a")),
        (tuple[int, ...], (1, 2, 3)),
        (set[int], {1, 2}),
        (frozenset[str], frozenset({"a"})),
        (dict[str, list[int]], {"a": [1]}),
        (dict[int, str], {1: "a"}),
        (Sequence[int], [1]),
        (Mapping[str, int], {"a": 1}),
        (Address, Address("Main", 5)),
        (Order, Order(1, Address("Main"))),
        (list[Order | None], [Order(2), None]),
        (Point, Point(1, 2)),
        (Options, {"deep": True}),
        (Any, {"a": [1, None, "x", 1.5]}),
        (object, [1, "two"]),
        (Annotated[int, msgspec.Meta(ge=1)], 1),
    ],
    ids=str,
)
def test_a_value_comes_back_as_what_it_was(kind: Any, value: Any) -> None:
    def handle(value: Any) -> None: ...

    handle.__annotations__["value"] = kind
    arguments = _arguments(handle)

    (back,) = arguments.by_position(_encode(arguments, value))

    assert back == value
    assert type(back) is type(value) or kind is float


EXAMPLES = (ROOT / "examples" / "payloads.jsonl").read_bytes().splitlines()


@pytest.mark.contract("F15")
@pytest.mark.parametrize("line", EXAMPLES, ids=lambda line: json.loads(line)["task"])
def test_each_example_payload_is_taken_whole(line: bytes) -> None:
    def handle(payload: Payload) -> None: ...

    arguments = _arguments(handle)

    assert arguments.by_name(arguments.accept(line, PAYLOAD_BYTES)) == {"payload": json.loads(line)}
    assert arguments.by_position(_encode(arguments, json.loads(line))) == (json.loads(line),)


@pytest.mark.contract("F15")
def test_there_are_ten_example_payloads() -> None:
    assert len(EXAMPLES) == 10


def test_the_whole_payload_may_be_any_json_object() -> None:
    def handle(payload: Payload) -> None: ...

    arguments = _arguments(handle)

    payloads: list[dict[str, Any]] = [{}, {"": None}, {"payload": {"payload": 1}}, {"a": [[{}]]}]
    for payload in payloads:
        assert arguments.by_name(_encode(arguments, payload)) == {"payload": payload}
        assert arguments.by_name(_encode(arguments, payload=payload)) == {"payload": payload}
    with pytest.raises(PayloadError, match="must be a dict, got list"):
        _encode(arguments, [1])
    with pytest.raises(PayloadError, match="takes one argument"):
        _encode(arguments, other={})


# Binding


def test_defaults_are_not_written() -> None:
    assert _encode(SEND, "ada") == b'{"to":"ada"}'
    assert _encode(SEND, "ada", count=2) == b'{"to":"ada","count":2}'


@pytest.mark.parametrize("default", [None, "none"])
def test_a_default_of_another_type_than_its_parameter_is_passed_on(default: Any) -> None:
    def count(n: int = default) -> None: ...

    arguments = _arguments(count)

    assert arguments.by_name(_encode(arguments)) == {"n": default}
    with pytest.raises(PayloadError, match="n"):
        _encode(arguments, 2**70)


def test_arguments_may_have_any_name() -> None:
    jobs = Jobs("memory://")

    @jobs.handler("named")
    def named(self: int, name: str, function: str = "", args: str = "") -> None: ...

    job = named.job(self=1, name="a", function="b", args="c")

    assert job.payload == b'{"self":1,"name":"a","function":"b","args":"c"}'
    assert named(self=1, name="a") is None


def test_positional_and_keyword_arguments_are_the_same_payload() -> None:
    assert _encode(SEND, "ada", "Hi") == _encode(SEND, to="ada", subject="Hi")


def test_a_handler_that_gained_a_default_still_runs_old_payloads() -> None:
    def newer(to: str, subject: str = "Hello", *, urgent: bool = False) -> None: ...

    old = _encode(SEND, "ada")

    assert _arguments(newer).by_name(old) == {"to": "ada", "subject": "Hello", "urgent": False}


@pytest.mark.promise(10)
@pytest.mark.parametrize(
    ("args", "kwargs", "path", "says"),
    [
        (
            (1,),
            {},
            "$.to",
            "email.send: 'to' must be str, got int (at $.to). Nothing was enqueued.",
        ),
        ((None,), {}, "$.to", "'to' must be str, got None (at $.to)"),
        (("a",), {"count": "1"}, "$.count", "'count' must be int, got str (at $.count)"),
        (("a",), {"count": 1.5}, "$.count", "'count' must be int, got float"),
        (("a",), {"count": True}, "$.count", "'count' must be int, got bool"),
        ((), {}, "$.to", "'to' is missing (at $.to)"),
        (("a",), {"to": "b"}, "$.to", "'to' is given twice"),
        (("a", "b", 1, 2), {}, "$", "takes 3 positional arguments, got 4"),
        (
            ("a",),
            {"sbject": "x"},
            "$.sbject",
            "(at $.sbject). Did you mean 'subject'? Nothing was enqueued.",
        ),
        (("a",), {"zzz": "x"}, "$.zzz", "It has: to, subject, count. Nothing was enqueued."),
        ((b"ada",), {}, "$.to", "'to' must be str, got bytes"),
        ((UUID(int=1),), {}, "$.to", "'to' must be str, got UUID"),
        (("a",), {"count": object()}, "$.count", "'count' cannot be written as JSON"),
        (("\ud800",), {}, "$.to", "'to' holds a lone surrogate"),
        (("a",), {"count": 2**70}, "$.count", "'count': the integer has more than 64 bits"),
        (("a",), {"count": -(2**63) - 1}, "$.count", "'count': the integer has more than 64 bits"),
    ],
)
def test_an_argument_that_does_not_fit_is_refused_by_name(
    args: tuple[Any, ...], kwargs: dict[str, Any], path: str, says: str
) -> None:
    with pytest.raises(PayloadError) as refused:
        _encode(SEND, *args, **kwargs)

    assert says in str(refused.value)
    assert refused.value.path == path


def _anything(value: Any) -> None: ...


def _nested(order: Order, sizes: list[int] = []) -> None: ...  # noqa: B006


@pytest.mark.promise(10)
@pytest.mark.parametrize(
    ("value", "path", "says"),
    [
        (float("nan"), "$.value", "nan is no JSON number"),
        (float("-inf"), "$.value", "-inf is no JSON number"),
        ({"a": [1, {"b": float("nan")}]}, "$.value.a[1].b", "'value.a[1].b': nan"),
        ([0, 2**64], "$.value[1]", "more than 64 bits"),
        ({"a": "\udc00"}, "$.value", "lone surrogate"),
        (Address("x", 2**70), "$.value.zip", "more than 64 bits"),
    ],
)
def test_what_json_cannot_carry_is_found_inside_other_values(
    value: Any, path: str, says: str
) -> None:
    with pytest.raises(PayloadError) as refused:
        _encode(_arguments(_anything), value)

    assert says in str(refused.value)
    assert refused.value.path == path


def test_a_null_or_many_digits_alone_are_no_reason_to_refuse() -> None:
    text = _encode(_arguments(_anything), {"none": None, "id": "12345678901234567890", "n": 2**63})

    assert json.loads(text)["value"]["n"] == 2**63


def test_the_place_inside_a_nested_value_is_named() -> None:
    arguments = _arguments(_nested)

    with pytest.raises(PayloadError, match=r"'order.address.zip' must be int, got str") as deep:
        _encode(arguments, {"id": 1, "address": {"street": "Main", "zip": "x"}})
    with pytest.raises(PayloadError, match=r"'sizes\[1\]' must be int"):
        _encode(arguments, Order(1), [1, "x"])

    assert deep.value.path == "$.order.address.zip"


def test_constraints_are_kept_and_said() -> None:
    def handle(count: Annotated[int, msgspec.Meta(ge=1)], name: Literal["a", "b"]) -> None: ...

    arguments = _arguments(handle)

    with pytest.raises(PayloadError, match=r"'count' must be int >= 1 \(at \$\.count\)"):
        _encode(arguments, 0, "a")
    with pytest.raises(PayloadError, match=r"'name': invalid enum value 'c' \(at \$\.name\)"):
        _encode(arguments, 1, "c")


@pytest.mark.promise(10)
def test_nesting_is_limited_when_enqueued_and_when_run() -> None:
    def nested(levels: int) -> list[Any]:
        value: list[Any] = []
        for _ in range(levels - 1):
            value = [value]
        return value

    arguments = _arguments(_anything)
    deep = b'{"value":' + b"[" * 1_000 + b"]" * 1_000 + b"}"

    assert _encode(arguments, nested(63))
    for levels in (64, 1_000, 100_000):
        with pytest.raises(PayloadError, match="nested too deep"):
            _encode(arguments, nested(levels))
    with pytest.raises(PayloadError, match="nested too deep"):
        arguments.accept(deep, PAYLOAD_BYTES)
    with pytest.raises(Exception) as raised:
        arguments.by_position(deep)
    assert "nested too deep" in arguments.rejected(deep, raised.value).error.message


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)

    with pytest.raises(PayloadError, match="nested too deep, or holds itself"):
        _encode(_arguments(_anything), value)


@pytest.mark.promise(10)
def test_a_payload_over_the_limit_is_too_large() -> None:
    why = (
        r"has 5,000,009 bytes, the limit is 262,144\. Store .* reference\. Nothing was enqueued\.$"
    )
    with pytest.raises(TooLarge, match=why):
        _encode(SEND, "x" * 5_000_000)
    with pytest.raises(TooLarge):
        SEND.accept(b'{"to":"' + b"x" * 5_000_000 + b'"}', PAYLOAD_BYTES)


# JSON from elsewhere


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"to": 1}', "'to' must be str, got int (at $.to)"),
        (b"[]", "the payload must be a JSON object, got array"),
        (b"{", "the payload is no JSON that can be read"),
        (b"", "the payload is no JSON that can be read"),
        (b'{"to": "\\ud800"}', "lone surrogate"),
        (b'{"to": "\xff"}', "not UTF-8"),
        (b'{"to": "a", "count": 1e999}', "'count'"),
        (b'{"to": "a", "count": NaN}', "no JSON"),
        (b'{"to": "a", "count": 1180591620717411303424}', "'count': the integer has more than 64"),
        (b'{"to": "a"} x', "no JSON"),
    ],
)
def test_json_that_does_not_fit_is_refused_by_name(text: bytes, says: str) -> None:
    with pytest.raises(PayloadError) as refused:
        SEND.accept(text, PAYLOAD_BYTES)

    assert says in str(refused.value)


def test_json_that_fits_is_stored_as_it_came() -> None:
    text = b' {"to": "a", "count": 2} '

    assert SEND.accept(text, PAYLOAD_BYTES) == text


# Running


@pytest.mark.promise(10)
def test_a_stored_payload_that_does_not_fit_is_rejected_with_the_field_named() -> None:
    text = b'{"to": 7}'

    with pytest.raises(msgspec.ValidationError) as raised:
        SEND.by_position(text)
    rejected = SEND.rejected(text, raised.value)

    assert rejected == Rejected(
        reason=Reason.BAD_ARGUMENTS,
        error=msgspec.structs.replace(
            rejected.error, message="email.send: 'to' must be str, got int (at $.to)"
        ),
    )


def test_no_payload_is_decoded_that_is_larger_than_any_limit() -> None:
    text = b'{"to":"' + b"x" * PAYLOAD_BYTES_HARD + b'"}'

    with pytest.raises(PayloadError) as raised:
        SEND.by_position(text)

    assert "more than any limit allows" in SEND.rejected(text, raised.value).error.message


# Schema


def test_a_schema_names_types_defaults_and_what_is_required() -> None:
    schema = SEND.schema()

    assert schema["title"] == "email.send"
    assert schema["required"] == ["to"]
    assert schema["properties"]["subject"] == {"type": "string", "default": "Welcome!"}
    assert schema["additionalProperties"] is False


def test_a_schema_holds_the_types_that_it_refers_to() -> None:
    schema = _arguments(_nested).schema()

    assert schema["properties"]["order"] == {"$ref": "#/$defs/Order"}
    assert {"Order", "Address"} <= set(schema["$defs"])


def test_the_schema_of_a_whole_payload_is_any_object() -> None:
    def handle(payload: Payload) -> None: ...

    assert _arguments(handle).schema() == {"title": "email.send", "type": "object"}
