"""What a user installs: the wheel's contents, what an import loads, and the pinned set."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from tests.support.source import CORE, ROOT, SRC

# What no one pays for who only enqueues: test tools, drivers, and what the command needs.
SLOW = (
    "blockbuster click cronsim dotenv hypothesis nats psycopg pytest redis rich sqlite3 structlog "
    "treadle.broker.memory treadle.broker.sqlite treadle.cli treadle.conformance treadle.testing "
    "trio uvloop watchfiles"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build the wheel as an installer does, with the backend that is installed here."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=240)
    (built,) = folder.glob("treadle-*-py3-none-any.whl")
    return zipfile.ZipFile(built)


def _python(program: str) -> str:
    """Run a program in a fresh interpreter, away from the repository, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd="/",
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
    )
    return done.stdout


def test_the_wheel_holds_all_of_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    source = {
        str(path.relative_to(SRC))
        for path in CORE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert packed == source
    assert "treadle/py.typed" in packed


def test_the_wheel_names_licence_commands_and_brokers(wheel: zipfile.ZipFile) -> None:
    (info,) = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" in name}

    entry_points = wheel.read(f"{info}/entry_points.txt").decode()
    metadata = HeaderParser().parsestr(wheel.read(f"{info}/METADATA").decode())

    assert "qrun = treadle.cli:main" in entry_points
    assert "memory = treadle.broker.memory" in entry_points
    assert "sqlite = treadle.broker.sqlite" in entry_points
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert f"{info}/licenses/LICENSE" in wheel.namelist()


def test_the_wheel_holds_nothing_that_turns_data_into_code(wheel: zipfile.ZipFile) -> None:
    unsafe = re.compile(
        rb"^\s*(?:import|from)\s+(?:pickle|marshal|shelve)\b|\byaml\.load\(|(?<![\w.])eval\(",
        re.MULTILINE,
    )

    found = [name for name in wheel.namelist() if unsafe.search(wheel.read(name))]

    assert not found


def test_importing_treadle_loads_nothing_slow() -> None:
    program = f"import sys, treadle; print(*set(sys.modules) & set({SLOW.split()!r}))"

    assert _python(program).split() == []


def test_the_help_of_the_command_loads_neither_runtime_nor_codec() -> None:
    program = (
        "import sys; sys.argv = ['qrun', '--help']\n"
        "from treadle.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('\\n', *set(sys.modules) & {'anyio', 'msgspec', 'pluggy'})"
    )

    assert _python(program).splitlines()[-1].split() == []


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_direct_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    groups = project["dependency-groups"].values()
    listed: list[object] = [*project["project"]["dependencies"]]
    listed += [line for part in (*extras, *groups) for line in part]
    wanted = {_normal(re.split(r"[^\w.-]", line)[0]) for line in listed if isinstance(line, str)}

    pinned = {_normal(line.partition("==")[0]) for line in _constraints()}

    assert wanted <= pinned


def test_the_pinned_set_is_plain_lines_in_order() -> None:
    lines = _constraints()

    assert [line for line in lines if not re.fullmatch(r"[a-z0-9.-]+==[\w.!+]+", line)] == []
    assert lines == sorted(lines, key=lambda line: line.partition("==")[0])


def _constraints() -> list[str]:
    return Path(ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
