"""What the types of arguments let through: how deep a value can nest, whether it can hold numbers or null.

Known once per handler, so that the checks which its types make needless cost nothing per job.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct, inspect

ENDLESS: Final = 1_000
"""Deeper than any limit."""

_SCALARS: Final = (
    inspect.BoolType,
    inspect.BytesType,
    inspect.DateTimeType,
    inspect.DateType,
    inspect.EnumType,
    inspect.StrType,
    inspect.TimeDeltaType,
    inspect.TimeType,
    inspect.UUIDType,
)
_NUMBERS: Final = inspect.IntType | inspect.FloatType | inspect.DecimalType


class Shape(Struct, frozen=True, kw_only=True):
    """What values of a type can be like."""

    depth: int
    """So many levels of arrays and objects at most."""
    numbers: bool
    """Some number can stand in it."""
    nulls: bool
    """Some null can stand in it."""


def shape_of(kind: Any) -> Shape:
    """Return what a type lets through."""
    return _shape(inspect.type_info(kind))


def is_number(kind: Any) -> bool:
    """Tell whether a type is a plain number."""
    return isinstance(inspect.type_info(kind), inspect.IntType | inspect.FloatType)


def is_text(kind: Any) -> bool:
    """Tell whether a type is plain text, or that and None."""
    found = inspect.type_info(kind)
    members = found.types if isinstance(found, inspect.UnionType) else (found,)
    own = [one for one in members if not isinstance(one, inspect.NoneType)]
    return bool(own) and all(isinstance(one, inspect.StrType) for one in own)


def _shape(kind: inspect.Type) -> Shape:
    if isinstance(kind, _SCALARS):
        return Shape(depth=0, numbers=False, nulls=False)
    if isinstance(kind, _NUMBERS):
        return Shape(depth=0, numbers=True, nulls=False)
    if isinstance(kind, inspect.NoneType):
        return Shape(depth=0, numbers=False, nulls=True)
    parts = [_shape(part) for part in _parts(kind)]
    if not parts:
        return Shape(depth=ENDLESS, numbers=True, nulls=True)
    own = 0 if isinstance(kind, inspect.UnionType | inspect.LiteralType) else 1
    return Shape(
        depth=own + max(part.depth for part in parts),
        numbers=any(part.numbers for part in parts),
        nulls=any(part.nulls for part in parts),
    )


def _parts(kind: inspect.Type) -> Iterator[inspect.Type]:
    """Yield the types inside a type.

    Nothing for one that lets through what it does not name: Any, raw JSON, and classes, which
    ignore the fields that they do not have.
    """
    match kind:
        case inspect.UnionType(types=types) | inspect.TupleType(item_types=types):
            yield from types
        case inspect.DictType(key_type=key, value_type=value):
            yield from (key, value)
        case (
            inspect.ListType(item_type=item)
            | inspect.VarTupleType(item_type=item)
            | inspect.SetType(item_type=item)
            | inspect.FrozenSetType(item_type=item)
        ):
            yield item
        case inspect.LiteralType(values=values):
            yield inspect.NoneType() if None in values else inspect.StrType()
        case _:
            return
