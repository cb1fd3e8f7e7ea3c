"""Say why a case failed: the line, the values in it, and what stood in the way.

A case asserts without messages, as tests do. Under pytest the values are filled in by pytest; for
everybody else they are read here, from the frame in which the assertion stood.
"""

from __future__ import annotations

import ast
import linecache
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, cast

from treadle.conformance.hand import ids

CASES = Path(__file__).parent / "cases"
KIT = Path(__file__).parent
WIDEST = 400
"""So many characters of a value are shown."""

_MISSING = object()
_HARMLESS: Mapping[str, Callable[[Any], object]] = {
    "ids": ids,
    "len": len,
    "list": list,
    "set": set,
    "sorted": sorted,
}
"""What may be called again to show its value."""
_LOOPS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def explain(error: BaseException) -> str:
    """Return what went wrong, in one to a few lines."""
    leaf = innermost(error)
    kind = type(leaf).__name__
    said = str(leaf).strip()
    if not isinstance(leaf, AssertionError):
        said = f"{kind}: {said}" if said else kind
    frame, line = _place(leaf)
    if frame is None:
        return said or kind
    where = f"{Path(frame.f_code.co_filename).name}:{line}"
    statement = _statement(frame.f_code.co_filename, line)
    if isinstance(leaf, AssertionError) and not said:
        return "\n".join([f"{where}: {_text(statement)}", *_values(statement, frame)])
    return "\n".join([f"{where}: {_text(statement)}", said, *_origin(leaf)])


def innermost(error: BaseException) -> BaseException:
    """Return the first error that is not a group of errors."""
    while isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        error = group.exceptions[0]
    return error


def _place(error: BaseException) -> tuple[FrameType | None, int]:
    """Return the last frame of a case that the error passed, else the last one of the kit."""
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    for folder in (CASES, KIT):
        for frame, line in reversed(frames):
            if Path(frame.f_code.co_filename).is_relative_to(folder):
                return frame, line
    return None, 0


def _origin(error: BaseException) -> list[str]:
    """Name the line that raised an error and the one that called it, unless they are the kit's."""
    if isinstance(error, AssertionError | TimeoutError):
        return []
    places = [(frame.f_code.co_filename, n) for frame, n in traceback.walk_tb(error.__traceback__)]
    places = [(file, line) for file, line in places if Path(file).name != "contextlib.py"]
    kit = [Path(file).is_relative_to(KIT) for file, _ in places]
    if not kit or kit[-1]:
        return []
    lines = [
        f"{'/'.join(Path(file).parts[-2:])}:{line}: {_text(_statement(file, line))}"
        for (file, line), ours in list(zip(places, kit, strict=True))[:-3:-1]
        if not ours
    ]
    return [f"{how} {line}" for how, line in zip(("raised in", "called in"), lines, strict=False)]


def _statement(file: str, line: int) -> ast.stmt | None:
    """Return the smallest statement that holds a line."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return None
    found: ast.stmt | None = None
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or 0):
            found = node
    return found


def _text(statement: ast.stmt | None) -> str:
    if statement is None:
        return ""
    return ast.unparse(statement).splitlines()[0]


def _values(statement: ast.stmt | None, frame: FrameType) -> list[str]:
    """List the values that an assertion compares, as far as they can be had without running code."""
    if not isinstance(statement, ast.Assert):
        return []
    found: dict[str, str] = {}
    _collect(statement.test, frame, found)
    return [f"  {name} = {value}" for name, value in found.items()]


def _collect(node: ast.AST, frame: FrameType, found: dict[str, str]) -> None:
    if isinstance(node, ast.Name | ast.Attribute | ast.Call):
        value = _value(node, frame)
        if value is not _MISSING:
            if type(value).__repr__ is not object.__repr__ and not callable(value):
                found[ast.unparse(node)] = _short(value)
            return
    if not isinstance(node, _LOOPS):
        for child in ast.iter_child_nodes(node):
            _collect(child, frame, found)


def _value(node: ast.expr, frame: FrameType) -> object:
    match node:
        case ast.Name(id=name):
            return frame.f_locals.get(name, _MISSING)
        case ast.Attribute(value=inner, attr=name):
            owner = _value(inner, frame)
            return owner if owner is _MISSING else getattr(owner, name, _MISSING)
        case ast.Call(func=ast.Name(id=name), args=[only], keywords=[]) if name in _HARMLESS:
            argument = _value(only, frame)
            return argument if argument is _MISSING else _HARMLESS[name](argument)
        case _:
            return _MISSING


def _short(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - what a broker answers may refuse to be shown
        return f"<repr() raised {type(error).__name__}>"
    return text if len(text) <= WIDEST else text[:WIDEST] + " …"
