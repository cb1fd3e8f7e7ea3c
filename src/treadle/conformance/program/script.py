"""Programs as Python scripts: a failing one is printed, saved, and played again from its file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

import anyio
import click
import msgspec
from msgspec import Struct

from treadle.conformance.model.showing import sequence
from treadle.conformance.program.comparison import compare_program
from treadle.conformance.program.ops import Op
from treadle.conformance.program.trial import STEP_LIMIT_S, Exchange
from treadle.conformance.subject import Subject

_HEAD = '''"""A program of protocol calls that a broker failed; play it again: python {name} URL ...

{found}
"""

from treadle.conformance.program import *  # noqa: F403
from treadle.conformance.program import main

PROGRAM = (
'''
_FOOT = """)

if __name__ == "__main__":
    main(PROGRAM)
"""


def source(value: object) -> str:
    """Return the expression that makes a value of a program; what is as usual is left out."""
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    parts = sequence(value)
    if parts is not None:
        inside = ", ".join(map(source, parts))
        return f"({inside},)" if len(parts) == 1 else f"({inside})"
    if isinstance(value, Struct):
        positional = bool(type(value).__match_args__)
        fields = msgspec.structs.fields(type(value))
        given = [
            (f.name, getattr(value, f.name)) for f in fields if getattr(value, f.name) != f.default
        ]
        texts = [source(one) if positional else f"{name}={source(one)}" for name, one in given]
        return f"{type(value).__name__}({', '.join(texts)})"
    return repr(value)


def script(program: Sequence[Op], found: str = "", name: str = "this_script.py") -> str:
    """Return a runnable script that plays a program, with what was found in its first lines."""
    shown = found.replace("\\", "\\\\").replace('"""', "'''") or "Nothing was found yet."
    lines = "".join(f"    {source(op)},\n" for op in program)
    return _HEAD.format(name=name, found=shown) + lines + _FOOT


def save(folder: Path, program: Sequence[Op], found: str) -> Path:
    """Write the script of a program into a folder, under a name that no other program has."""
    folder.mkdir(parents=True, exist_ok=True)
    number = next(n for n in range(1, 1 << 30) if not (folder / f"program-{n}.py").exists())
    path = folder / f"program-{number}.py"
    path.write_text(script(program, found, path.name), encoding="utf-8")
    return path


def main(program: Sequence[Op], arguments: Sequence[str] | None = None) -> None:
    """Play a program against the URL that was given on the command line, and say how it went."""
    parser = argparse.ArgumentParser(description="Play a program of protocol calls on a broker.")
    parser.add_argument(
        "urls", nargs="+", metavar="URL", help="where; several are compared with the first"
    )
    parser.add_argument("--backend", default="asyncio", choices=("asyncio", "trio"))
    parser.add_argument("--quiet", action="store_true", help="do not print the calls and answers")
    given = parser.parse_args(arguments)
    show = None if given.quiet else _show
    subjects = [Subject(url) for url in given.urls]
    try:
        anyio.run(compare_program, subjects, program, STEP_LIMIT_S, show, backend=given.backend)
    except AssertionError as error:
        notes = "\n".join(getattr(error, "__notes__", ()))
        sys.exit(f"\n{type(error).__name__}\n{error}\n{notes}")
    click.echo(f"the broker did as it must, {len(program)} operations")


def _show(exchange: Exchange) -> None:
    click.echo(f"{exchange.call}\n    -> {exchange.answer!r}")
