"""What users may rely on: the names of `treadle`, its errors, and a docstring on each of them."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import treadle
from tests.support.source import CORE, ROOT, module_name, python_files, tree
from treadle import errors

PUBLIC_MODULES = [
    path
    for path in python_files(CORE)
    if not any(part.startswith("_") for part in path.relative_to(CORE).with_suffix("").parts)
    or path.name == "__init__.py"
]

ERRORS = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, errors.TreadleError)
]


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_all_is_sorted_and_has_no_double() -> None:
    assert list(treadle.__all__) == sorted(set(treadle.__all__))


@pytest.mark.parametrize("name", treadle.__all__)
def test_every_promised_name_is_there(name: str) -> None:
    assert getattr(treadle, name) is not None


def test_dir_tells_the_promised_names() -> None:
    assert set(treadle.__all__) <= set(dir(treadle))


@pytest.mark.parametrize("name", treadle.__all__)
def test_every_promised_class_and_function_has_a_docstring(name: str) -> None:
    value = getattr(treadle, name)

    assert not (inspect.isclass(value) or inspect.isroutine(value)) or inspect.getdoc(value)


@pytest.mark.parametrize("path", PUBLIC_MODULES, ids=_id)
def test_every_public_module_opens_with_a_docstring(path: Path) -> None:
    assert ast.get_docstring(tree(path)), module_name(path)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_is_promised_documented_and_has_its_own_code(
    error: type[errors.TreadleError],
) -> None:
    same_code = [other for other in ERRORS if other.code == error.code]

    assert error.__name__ in treadle.__all__
    assert error.__dict__.get("__doc__")
    assert same_code == [error]


def test_the_tree_at_the_top_of_errors_names_every_error() -> None:
    drawn = inspect.getdoc(errors) or ""

    assert [error.__name__ for error in ERRORS if error.__name__ not in drawn] == []
