"""Reading the project's own source: files, modules, and the names that they import and use."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"
CORE = SRC / "treadle"
_BUILT = {".nox", ".venv", "__pycache__", "build", "dist", "node_modules", "site"}


def python_files(*folders: Path) -> list[Path]:
    """List the Python files below some folders, but nothing that was built or installed."""
    return sorted(
        path
        for folder in folders
        for path in folder.rglob("*.py")
        if _BUILT.isdisjoint(path.relative_to(ROOT).parts)
    )


def module_name(path: Path) -> str:
    """Name the module that a file below `src` holds."""
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree(path: Path) -> ast.Module:
    """Parse a file, once."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and full dotted name of every import: at the top, in functions, in `if` blocks.

    `from a import b` gives `a.b`, which may be a module or a name in one.
    """
    for node in ast.walk(tree(path)):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in names)
            case ast.Call(args=[ast.Constant(value=str(name)), *_]) if _imports_by_name(node):
                yield node.lineno, name
            case _:
                continue


def _imports_by_name(call: ast.Call) -> bool:
    return dotted(call.func).rpartition(".")[2] in {"import_module", "__import__"}


def dotted(node: ast.expr) -> str:
    """Write a chain of attributes as text; empty if it starts with anything but a name."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            start = dotted(value)
            return f"{start}.{attr}" if start else ""
        case _:
            return ""


def used_names(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and full name of what is used, as if nothing were imported under an alias.

    Of a local variable only the bare name is told: what its attributes are is not known here.
    """
    full = _aliases(path)
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Name | ast.Attribute):
            first, dot, rest = dotted(node).partition(".")
            if first in full:
                yield node.lineno, full[first] + dot + rest
            elif first and not dot:
                yield node.lineno, first


def _aliases(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in ast.walk(tree(path)):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    first = alias.name.partition(".")[0]
                    found[alias.asname or first] = alias.name if alias.asname else first
            case ast.ImportFrom(module=str(module), names=names, level=0):
                for alias in names:
                    found[alias.asname or alias.name] = f"{module}.{alias.name}"
            case _:
                continue
    return found
