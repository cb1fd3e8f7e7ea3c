"""How a command finds its app, and what it says when there is none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.conftest import MODULES
from treadle.cli.discovery import find_app, load_app
from treadle.errors import AppNotFound
from treadle.settings import Settings, load

ONE = "from treadle import Jobs\njobs = Jobs()\n"
TWO = "from treadle import Jobs\nfirst = Jobs()\nsecond = Jobs()\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder whose modules nobody imported before."""
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def _settings(folder: Path, **environ: str) -> Settings:
    return load(folder=folder, environ=environ)


def _write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")


def _found(folder: Path, argument: str | None = None, **environ: str) -> str:
    said: list[str] = []
    app = load_app(_settings(folder, **environ), argument, folder=folder, say=said.append)
    return f"{app.name} from {app.origin}" + (f"; {said[0]}" if said else "")


def test_the_argument_wins_over_variable_and_file(folder: Path) -> None:
    _write(folder, "jobs.py", ONE)
    _write(folder, "named.py", TWO)

    found = _found(folder, "named:second", QRUN_APP="named:first")

    assert found == "named:second from argument"


def test_the_variable_wins_over_the_project_file(folder: Path) -> None:
    _write(folder, "named.py", TWO)
    _write(folder, "pyproject.toml", '[tool.treadle]\napp = "named:second"\n')

    assert _found(folder, QRUN_APP="named:first").startswith("named:first from environment")
    del sys.modules["named"]
    assert _found(folder) == "named:second from pyproject.toml"


def test_the_first_file_with_a_jobs_object_is_taken_and_told(folder: Path) -> None:
    _write(folder, "jobs.py", "nothing = 1\n")
    _write(folder, "app.py", ONE)
    _write(folder, "main.py", ONE)

    assert _found(folder) == "app:jobs from app.py; Using app:jobs (found in app.py)."


def test_a_module_alone_is_enough_if_it_holds_one_jobs_object(folder: Path) -> None:
    _write(folder, "named.py", ONE)

    assert _found(folder, "named") == "named:jobs from argument"


def test_two_names_of_one_object_are_one_object(folder: Path) -> None:
    _write(folder, "jobs.py", ONE + "again = jobs\n")

    assert _found(folder).startswith("jobs:jobs")


def _refused(folder: Path, argument: str | None = None) -> str:
    with pytest.raises(AppNotFound) as caught:
        load_app(_settings(folder), argument, folder=folder, say=lambda _: None)
    return str(caught.value)


def test_several_jobs_objects_are_listed(folder: Path) -> None:
    _write(folder, "jobs.py", TWO)

    assert "jobs:first, jobs:second" in _refused(folder)


def test_a_wrong_attribute_is_answered_with_what_is_there(folder: Path) -> None:
    _write(folder, "named.py", TWO)

    assert "named:first, named:second" in _refused(folder, "named:third")


def test_without_any_app_it_tells_what_was_tried(folder: Path) -> None:
    text = _refused(folder)

    assert "jobs.py, app.py, main.py" in text
    assert "QRUN_APP" in text
    assert find_app(_settings(folder), None, folder=folder) is None


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import nowhere_to_be_found\n", "ModuleNotFoundError"),
        ("raise SystemExit(7)\n", "SystemExit"),
        ("def broken(:\n", "SyntaxError"),
    ],
)
def test_an_app_that_cannot_be_imported_is_named_with_its_error(
    folder: Path, source: str, why: str
) -> None:
    _write(folder, "named.py", source)

    text = _refused(folder, "named:jobs")

    assert "cannot import named" in text
    assert why in text


def test_the_line_that_fails_is_told(folder: Path) -> None:
    _write(folder, "named.py", "x = 1\n\nraise ValueError('here')\n")

    assert f"{folder / 'named.py'}:3" in _refused(folder, "named")


@pytest.mark.parametrize("name", [":", ":jobs", "named:"])
def test_a_name_that_is_none_is_refused(folder: Path, name: str) -> None:
    assert "module:attribute" in _refused(folder, name)
