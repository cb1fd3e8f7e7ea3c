"""Reading annotations of user functions, also where some of them cannot be resolved."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any, Union, get_args, get_origin, get_type_hints

from treadle.runtime.context import Context


class Unresolved:
    """An annotation that names something that cannot be found; `why` says what."""

    __slots__ = ("why",)

    def __init__(self, why: str) -> None:
        self.why = why


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a function; one that cannot be resolved comes as `Unresolved`."""
    plain: Any = inspect.unwrap(function)
    if inspect.isclass(plain):
        plain = getattr(plain, "__init__")  # noqa: B009 - mypy takes the attribute for an instance's
    try:
        return get_type_hints(plain, include_extras=True)
    except Exception:  # noqa: BLE001 - evaluating an annotation may raise anything
        return _one_by_one(plain)


def _one_by_one(function: Callable[..., Any]) -> dict[str, Any]:
    namespace = getattr(function, "__globals__", {})
    found: dict[str, Any] = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        alone = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            found |= get_type_hints(alone, globalns=namespace, include_extras=True)
        except Exception as error:  # noqa: BLE001 - evaluating an annotation may raise anything
            found[name] = Unresolved(str(error))
    return found


def is_context(hint: Any) -> bool:
    """Tell whether a parameter of this type gets the Context of its attempt."""
    if hint is Context:
        return True
    if get_origin(hint) in (Union, types.UnionType):
        return Context in get_args(hint)
    return False
