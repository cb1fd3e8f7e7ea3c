"""What users can touch is named in the docs: hooks, settings, errors, commands and options.

And the other way round: a promise or contract row that a test names is in the docs, and one that
the docs call kept has a test.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import click
import pytest

from tests.docs.command import root, walk
from tests.support.source import CORE, ROOT, dotted, python_files, tree
from treadle import errors

DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"

TESTS = [*python_files(ROOT / "tests", ROOT / "plugins", ROOT / "examples")]


@cache
def _text(below: str = "") -> str:
    """Return all pages of a folder of the docs as one text."""
    return "\n".join(p.read_text(encoding="utf-8") for p in sorted((DOCS / below).rglob("*.md")))


def _named(word: str, text: str) -> bool:
    """Say whether a word stands in a text by itself, not as a part of another."""
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text) is not None


def test_every_error_and_its_code_are_documented() -> None:
    known = [value for value in vars(errors).values() if isinstance(value, type)]
    ours = [error for error in known if issubclass(error, errors.TreadleError)]

    missing = [e.__name__ for e in ours if not _named(e.__name__, _text("reference"))]
    missing += [e.code for e in ours if not _named(e.code, _text("reference"))]

    assert not missing


def test_every_hook_is_documented() -> None:
    hooks = [
        node.name
        for node in ast.walk(tree(CORE / "hooks.py"))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("treadle_")
    ]

    assert hooks
    assert [name for name in hooks if not _named(name, _text("reference"))] == []


def test_every_setting_is_documented() -> None:
    names = list(_settings())

    assert names
    assert [name for name in names if not _named(name, _text("reference"))] == []


def _settings() -> Iterator[str]:
    for node in tree(CORE / "settings" / "values.py").body:
        if isinstance(node, ast.ClassDef) and node.name.endswith("Settings"):
            for line in node.body:
                # `origins` says where the others come from; nobody sets it.
                if isinstance(line, ast.AnnAssign) and dotted(line.target) != "origins":
                    yield dotted(line.target)


@pytest.mark.parametrize(
    ("path", "command"), [pytest.param(*row, id=row[0]) for row in walk(root(), "qrun")]
)
def test_every_command_and_its_options_are_documented(path: str, command: click.Command) -> None:
    options = [
        max(parameter.opts, key=len)
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
    ]

    missing = [word for word in (path, *options) if not _named(word, _text("reference"))]

    assert command.help or command.short_help
    assert not missing


@cache
def _marked(marker: str) -> frozenset[str]:
    """Collect what the tests name in `@pytest.mark.<marker>(...)`."""
    return frozenset(
        str(argument.value)
        for path in TESTS
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and dotted(node.func) == f"pytest.mark.{marker}"
        for argument in node.args
        if isinstance(argument, ast.Constant)
    )


def _promises(*, kept: bool) -> set[str]:
    """Read the numbers of `docs/guarantees.md`: from headings, or from the first cell of a row.

    One that says "planned" in its heading or row is known, but not kept yet.
    """
    lines = (DOCS / "guarantees.md").read_text(encoding="utf-8").splitlines()
    found = ((re.match(r"(?:#+|\|)\s*(?:Promise\s+)?(\d+)\b", line), line) for line in lines)
    return {match[1] for match, line in found if match and not (kept and "planned" in line)}


def _rows(*, kept: bool) -> set[str]:
    """Read the ids of `docs/reference/contracts.md`: the first cell of a row; "planned" as above."""
    lines = (REFERENCE / "contracts.md").read_text(encoding="utf-8").splitlines()
    found = ((re.match(r"\|\s*`?([EFR]\d\d)\b", line), line) for line in lines)
    return {match[1] for match, line in found if match and not (kept and "planned" in line)}


def test_every_promise_that_a_test_names_is_in_the_docs() -> None:
    assert _marked("promise") <= _promises(kept=False)


def test_every_promise_that_the_docs_call_kept_has_a_test() -> None:
    assert _promises(kept=True) <= _marked("promise")


def test_every_contract_row_that_a_test_names_is_in_the_docs() -> None:
    assert _marked("contract") <= _rows(kept=False)


def test_every_contract_row_that_the_docs_call_kept_has_a_test() -> None:
    assert _rows(kept=True) <= _marked("contract")
