"""What a handler's function may look like, and what is refused when it is registered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest

from treadle import Context, Depends
from treadle.errors import ConfigurationError
from treadle.runtime.signature import Payload, read

if TYPE_CHECKING:
    from decimal import Decimal


class Foreign:
    """A class that JSON does not know."""


def get_foreign() -> Foreign:
    return Foreign()


def test_arguments_context_and_dependencies_are_told_apart() -> None:
    def handle(
        ctx: Context, to: str, *, count: int = 3, foreign: Foreign = Depends(get_foreign)
    ) -> None: ...

    signature = read("x", handle)

    assert signature.names == ("to", "count")
    assert signature.positional == ("to",)
    assert set(signature.wanted) == {"ctx", "foreign"}
    assert not signature.calls_by_position


def test_a_function_of_plain_arguments_is_called_by_position() -> None:
    def handle(to: str, count: int = 3) -> None: ...

    assert read("x", handle).calls_by_position


def test_an_optional_context_is_a_context_too() -> None:
    def handle(ctx: Context | None = None) -> None: ...

    assert read("x", handle).names == ()


def test_a_parameter_without_annotation_takes_any_json() -> None:
    def handle(value: Any) -> None: ...

    handle.__annotations__.clear()

    assert read("x", handle).names == ("value",)


def _stars(*args: int) -> None: ...


def _two_stars(**kwargs: int) -> None: ...


def _foreign(thing: Foreign) -> None: ...


def _foreign_inside(things: list[dict[str, Foreign]]) -> None: ...


def _callable(back: Callable[[], None]) -> None: ...


def _iterator(numbers: Iterator[int]) -> None: ...


def _type_checking(price: Decimal) -> None: ...


def _two_with_whole(payload: Payload, more: int) -> None: ...


def _bad_union(value: Foreign | int) -> None: ...


def _bad_constraint(value: Annotated[str, msgspec.Meta(ge=1)]) -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (_stars, r"handler 'x': \*args cannot be checked.*treadle\.Payload"),
        (_two_stars, r"handler 'x': \*\*kwargs cannot be checked"),
        (_foreign, r"'thing' has the type Foreign, which JSON cannot carry.*Depends"),
        (_foreign_inside, "'things' has the type Foreign"),
        (_callable, "'back' has the type"),
        (_iterator, "'numbers' has the type"),
        (_type_checking, "'price' cannot be resolved.*not under TYPE_CHECKING"),
        (_two_with_whole, "'payload' takes the whole payload, so it must be the only argument"),
        (_bad_union, "'value' cannot be used"),
        (_bad_constraint, "'value' cannot be used"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_no_job_can_hold_is_refused_with_the_parameter_named(
    function: Callable[..., Any], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        read("x", function)


def test_a_mutable_default_is_not_shared_between_jobs() -> None:
    def handle(tags: list[str] = ["a"]) -> None: ...  # noqa: B006 - that is the point

    signature = read("x", handle)

    first, second = signature.struct(), signature.struct()
    assert msgspec.structs.astuple(first) == (["a"],)
    assert msgspec.structs.astuple(first)[0] is not msgspec.structs.astuple(second)[0]
