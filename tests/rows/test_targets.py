"""The targets of the task runner have the names that people look for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WANTED = {"setup", "test", "unit", "coverage", "integration", "lint", "fmt", "build"}


@pytest.mark.contract("F32")
def test_nox_has_a_session_of_each_name_and_says_what_it_does() -> None:
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))

    sessions = {
        node.name: ast.get_docstring(node)
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any("nox.session" in ast.unparse(each) for each in node.decorator_list)
    }

    assert sessions.keys() >= WANTED
    assert all(sessions[name] for name in WANTED)
