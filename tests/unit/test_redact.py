"""What the setting `redact` hides, and that it changes nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.settings.redact import HIDDEN, redacted, redacted_fields

PAYLOAD = {
    "user": "ada",
    "password": "s1",
    "account": {"Password": "s2", "cards": [{"number": "s3", "kind": "visa"}]},
}


def _shown(paths: tuple[str, ...], value: object = PAYLOAD, name: str = "payload") -> Any:
    return json.loads(redacted(json.dumps(value).encode(), name, paths))


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        ("*.password", {"s1", "s2"}),
        ("payload.password", {"s1"}),
        ("payload.account.password", {"s2"}),
        ("payload.account.*", {"s2", "s3", "visa"}),
        ("*.cards.*.number", {"s3"}),
        ("*.cards.0.number", {"s3"}),
        ("*.cards.1.number", set[str]()),
        ("*card*", {"s3", "visa"}),
        ("*.account", {"s2", "s3", "visa"}),
        ("password", set[str]()),
        ("result.*", set[str]()),
        ("*pass*word*", {"s1", "s2"}),
        ("*word*pass*", set[str]()),
        ("PAYLOAD.PASSWORD", {"s1"}),
        ("*", {"ada", "s1", "s2", "s3", "visa"}),
        ("", set[str]()),
    ],
)
def test_a_path_hides_the_values_that_it_fits(path: str, hidden: set[str]) -> None:
    text = json.dumps(_shown((path,)))

    assert {word for word in ("ada", "s1", "s2", "s3", "visa") if f'"{word}"' not in text} == hidden


def test_a_hidden_value_is_replaced_by_a_word_whatever_it_was() -> None:
    assert _shown(("*.a",), {"a": [1, {"b": 2}], "c": 3}) == {"a": HIDDEN, "c": 3}


def test_all_that_is_not_hidden_stays_as_it_is_written() -> None:
    data = b'{"n": 123456789012345678901234567890, "x": 1.10, "y": 1e999, "s": "\\u00e4", "p": 1}'

    shown = redacted(data, "payload", ["*.p"])

    assert shown == (
        b'{"n":123456789012345678901234567890,"x":1.10,"y":1e999,"s":"\\u00e4","p":"[redacted]"}'
    )


def test_without_paths_the_bytes_are_the_same() -> None:
    assert redacted(b' {"a": 1}', "payload", ()) == b' {"a": 1}'


@pytest.mark.parametrize("data", [b"not json", b"", b'{"password": "s1"', b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_hidden_as_a_whole(data: bytes) -> None:
    assert redacted(data, "payload", ["*.password"]) == b'"[redacted]"'


def test_a_name_that_occurs_twice_hides_nothing_from_the_rule() -> None:
    data = b'{"a": {"password": "s1"}, "a": {}, "password": "s2", "password": "s3"}'

    assert redacted(data, "payload", ["*.password"]) == b'{"a":{},"password":"[redacted]"}'


def test_a_document_that_is_a_single_value_has_the_path_of_its_name() -> None:
    assert _shown(("result",), "s1", name="result") == HIDDEN
    assert _shown(("*.password",), "s1", name="result") == "s1"


def test_fields_of_a_log_line_are_hidden_the_same_way() -> None:
    fields = {"event": "x", "password": "s1", "payload": {"user": ("ada", {"password": "s2"})}}

    shown = redacted_fields(fields, ["*.password"])

    assert shown == {
        "event": "x",
        "password": HIDDEN,
        "payload": {"user": ["ada", {"password": HIDDEN}]},
    }


_names = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | _names,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(_names, inside, max_size=3),
    max_leaves=12,
)


@given(_values)
def test_a_path_that_fits_nothing_changes_nothing(value: object) -> None:
    assert _shown(("nowhere.at.all",), value) == value


@given(_values)
def test_a_secret_at_any_depth_is_hidden(value: object) -> None:
    wrapped = {"password": "sesame-7", "inside": [value, {"password": "sesame-7"}]}

    assert "sesame-7" not in json.dumps(_shown(("*.password",), wrapped))
