"""What types let through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from treadle.domain.limits import PAYLOAD_DEPTH
from treadle.runtime.shapes import is_number, is_text, shape_of


@dataclass
class Node:
    """A class, which ignores fields that it does not have."""

    name: str


@pytest.mark.parametrize(
    ("kind", "depth", "numbers", "nulls"),
    [
        (str, 0, False, False),
        (int, 0, True, False),
        (str | None, 0, False, True),
        (Literal["a", "b"], 0, False, False),
        (Literal["a"] | None, 0, False, True),
        (list[str], 1, False, False),
        (dict[str, list[float]], 2, True, False),
        (tuple[str, int] | None, 1, True, True),
        (Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(max_length=3)], 1, False, False),
    ],
)
def test_a_type_tells_how_deep_it_goes_and_what_stands_in_it(
    kind: Any, depth: int, numbers: bool, nulls: bool
) -> None:
    shape = shape_of(kind)

    assert (shape.depth, shape.numbers, shape.nulls) == (depth, numbers, nulls)


@pytest.mark.parametrize("kind", [Any, object, dict, list, Node, dict[str, Any], list[Node]])
def test_what_is_not_named_can_be_anything(kind: Any) -> None:
    shape = shape_of(Any if kind is object else kind)

    assert shape.depth > PAYLOAD_DEPTH
    assert shape.numbers
    assert shape.nulls


def test_plain_kinds_are_known() -> None:
    assert is_text(str)
    assert is_text(str | None)
    assert not is_text(str | int)
    assert is_number(Annotated[int, Meta(ge=0)])
    assert not is_number(int | None)
