"""What a handler's function takes: arguments from the payload, and what is provided to it.

Read once, when the function is registered; whatever cannot work is refused there, with the name of the
handler and of the parameter.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Annotated, Any, Final, TypeAlias, cast, get_args

import msgspec
from msgspec import Struct

from treadle.domain.limits import PAYLOAD_DEPTH
from treadle.errors import ConfigurationError
from treadle.runtime.depends import Dependency, Plan, plan
from treadle.runtime.hints import Unresolved, hints_of, is_context
from treadle.runtime.shapes import is_number, is_text, shape_of

_WHOLE: Final = "treadle:whole-payload"

Payload: TypeAlias = Annotated[dict[str, Any], _WHOLE]
"""A parameter of this type, the only one of its handler, takes the whole JSON object."""


class Signature(Struct, frozen=True, kw_only=True):
    """The parameters of a handler, sorted by where their values come from."""

    names: tuple[str, ...]
    """The arguments that the payload may hold, in order."""
    positional: tuple[str, ...]
    """Those of `names` that may be given by position."""
    positional_only: tuple[str, ...]
    struct: type[Struct]
    """Validates a payload; its fields are `names`."""
    whole: str
    """The parameter that takes the whole payload; "" = none does."""
    wanted: Mapping[str, Dependency | None]
    """The parameters that are provided; None stands for the Context."""
    plan: Plan
    calls_by_position: bool
    """The function may be called with the values of `names` in order, and nothing else."""
    text_names: tuple[str, ...]
    """The arguments that are plain text."""
    deep: bool
    """Some argument may be nested deeper than a payload may be."""
    nulls: bool
    """Some argument may hold null."""
    numbers: tuple[str, ...]
    """The arguments that are plain numbers, given or not."""
    hides_numbers: bool
    """Some other argument may hold a number."""


def read(name: str, function: Callable[..., Any]) -> Signature:
    """Read the signature of a handler.

    Raises:
        ConfigurationError: naming the parameter that cannot be an argument of a job.
    """
    where = f"handler {name!r}"
    hints = hints_of(function)
    wanted: dict[str, Dependency | None] = {}
    arguments: dict[str, inspect.Parameter] = {}
    for parameter in inspect.signature(function).parameters.values():
        hint = hints.get(parameter.name)
        if isinstance(parameter.default, Dependency):
            wanted[parameter.name] = parameter.default
        elif is_context(hint):
            wanted[parameter.name] = None
        else:
            _refuse_stars(where, parameter)
            arguments[parameter.name] = parameter
    whole = _whole(where, arguments, hints)
    types = {name: _type(where, name, hints.get(name, Any)) for name in arguments}
    shapes = {name: shape_of(kind) for name, kind in types.items()}
    numbers = tuple(
        name
        for name, kind in types.items()
        if is_number(kind) and _is_number_by_default(arguments[name])
    )
    by_position = [
        name for name, one in arguments.items() if one.kind is not inspect.Parameter.KEYWORD_ONLY
    ]
    return Signature(
        names=tuple(arguments),
        positional=tuple(by_position),
        positional_only=_positional_only(function),
        struct=_struct(name, arguments, types),
        whole=whole,
        wanted=wanted,
        plan=plan(name, wanted),
        calls_by_position=not wanted and len(by_position) == len(arguments),
        text_names=tuple(name for name, kind in types.items() if is_text(kind)),
        deep=bool(whole) or any(1 + one.depth > PAYLOAD_DEPTH for one in shapes.values()),
        nulls=any(one.nulls for one in shapes.values()),
        numbers=numbers,
        hides_numbers=any(one.numbers for name, one in shapes.items() if name not in numbers),
    )


def _refuse_stars(where: str, parameter: inspect.Parameter) -> None:
    if parameter.kind is parameter.VAR_POSITIONAL:
        stars = f"*{parameter.name}"
    elif parameter.kind is parameter.VAR_KEYWORD:
        stars = f"**{parameter.name}"
    else:
        return
    raise ConfigurationError(
        f"{where}: {stars} cannot be checked against a payload. Name each parameter, or take a "
        "list or a dict; a handler for any JSON object has one parameter of the type treadle.Payload"
    )


def _whole(where: str, arguments: Mapping[str, inspect.Parameter], hints: Mapping[str, Any]) -> str:
    found = [name for name in arguments if _WHOLE in get_args(hints.get(name))[1:]]
    if found and len(arguments) > 1:
        raise ConfigurationError(
            f"{where}: {found[0]!r} takes the whole payload, so it must be the only argument"
        )
    return found[0] if found else ""


def _type(where: str, name: str, hint: Any) -> Any:
    if isinstance(hint, Unresolved):
        raise ConfigurationError(
            f"{where}: the type of {name!r} cannot be resolved: {hint.why}. "
            "Import it at the top of the module, not under TYPE_CHECKING"
        )
    kind = Any if hint is object else hint

    def refuse(foreign: type) -> dict[str, Any]:
        called = getattr(foreign, "__qualname__", foreign)
        raise ConfigurationError(
            f"{where}: {name!r} has the type {called}, which JSON cannot carry. Use "
            "a dataclass, a msgspec.Struct or plain values, or provide it with Depends(...)"
        )

    try:
        msgspec.json.Decoder(kind)
        msgspec.json.schema(kind, schema_hook=refuse)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"{where}: the type of {name!r} cannot be used: {error}"
        ) from error
    return kind


def _struct(
    handler: str, arguments: Mapping[str, inspect.Parameter], types: Mapping[str, Any]
) -> type[Struct]:
    fields = [
        (name, types[name], _default(parameter.default)) for name, parameter in arguments.items()
    ]
    title = "".join(part for part in handler if part.isalnum() or part in "._-")
    return msgspec.defstruct(title, fields, kw_only=True, forbid_unknown_fields=True, frozen=True)


def _default(value: Any) -> Any:
    if value is inspect.Parameter.empty:
        return msgspec.field()
    if value is None or isinstance(value, bool | int | float | str):
        return msgspec.field(default=value)
    if isinstance(value, list | dict | set | bytearray):
        # What a job changes in its default shall not reach the next job.
        return msgspec.field(default_factory=partial(deepcopy, cast("object", value)))
    return msgspec.field(default_factory=lambda: value)


def _is_number_by_default(parameter: inspect.Parameter) -> bool:
    """Tell whether it is a number also if it is left out: defaults are not checked, as in Python."""
    default = parameter.default
    return default is inspect.Parameter.empty or isinstance(default, int | float)


def _positional_only(function: Callable[..., Any]) -> tuple[str, ...]:
    parameters = inspect.signature(function).parameters.values()
    return tuple(one.name for one in parameters if one.kind is one.POSITIONAL_ONLY)
