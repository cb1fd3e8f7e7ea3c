"""The cut of the code: who may import whom, where time and chance come from, how long a file is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.source import CORE, ROOT, imports, module_name, python_files, used_names

# Each part of the core and the parts that it may import, beside itself. A module belongs to the
# longest name that it starts with. An arrow may not be reversed; a new part gets a line here.
LOW = {"treadle.errors", "treadle.domain", "treadle.broker"}
MIDDLE = LOW | {"treadle.settings", "treadle.runtime"}
HIGH = MIDDLE | {"treadle.hooks", "treadle.plugins", "treadle.profile"}
MAY_IMPORT: dict[str, set[str]] = {
    "treadle.errors": set(),
    "treadle.domain": {"treadle.errors"},
    "treadle.broker": {"treadle.errors", "treadle.domain"},
    # The brokers in the box are plugins like everybody's: nothing imports them.
    "treadle.broker.memory": LOW | {"treadle.hooks"},
    "treadle.broker.sqlite": LOW | {"treadle.hooks"},
    "treadle.settings": LOW,
    # A child process writes its logs as its parent does.
    "treadle.runtime": LOW | {"treadle.settings", "treadle.logs"},
    "treadle.profile": MIDDLE,
    "treadle.hooks": MIDDLE | {"treadle.profile"},
    "treadle.plugins": MIDDLE | {"treadle.hooks", "treadle.profile"},
    "treadle.logs": LOW | {"treadle.settings"},
    # The composition root: settings, plugins and runtime meet here.
    "treadle.app": HIGH,
    "treadle": HIGH | {"treadle.app"},
    # `qrun verify` imports the kit when it runs.
    "treadle.cli": HIGH | {"treadle", "treadle.app", "treadle.logs", "treadle.conformance"},
    "treadle.__main__": {"treadle.cli"},
    "treadle.testing": HIGH
    | {"treadle", "treadle.app", "treadle.conformance", "treadle.broker.memory"},
    "treadle.conformance": HIGH | {"treadle"},
    # Brokers that are broken on purpose are made from good ones.
    "treadle.conformance.mutants": HIGH
    | {"treadle", "treadle.conformance", "treadle.broker.memory", "treadle.broker.sqlite"},
}

# What the domain may use of the standard library: nothing that knows a clock, a random source, a
# file, a socket, a thread, a log or the environment.
CALM = re.compile(
    "__future__|abc|bisect|collections|dataclasses|datetime|decimal|difflib|enum|fractions"
    "|functools|hashlib|heapq|itertools|math|operator|re|string|types|typing|zoneinfo"
    "|msgspec|cronsim|treadle"
)

CLOCK = re.compile(r"time\.time(_ns)?|datetime\.(datetime\.(now|utcnow|today)|date\.today)")
CHANCE = re.compile(r"random\.[a-z]\w*|uuid\.uuid[1-9]|os\.urandom")
UNSAFE_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml"}
UNSAFE_CALLS = {"eval", "exec", "builtins.eval", "builtins.exec"}

FILES = python_files(CORE)
WRITTEN_BY_US = [
    ROOT / "noxfile.py",
    *python_files(*(ROOT / f for f in ("src", "tests", "plugins", "examples", "benchmarks"))),
]


_MODULES = {module_name(path) for path in FILES}


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _part(name: str) -> str:
    found = [part for part in MAY_IMPORT if name == part or name.startswith(part + ".")]
    longest = max(found, key=len)
    # `treadle` itself is the package file, not whatever has no line of its own.
    return name if longest == "treadle" and name in _MODULES else longest


def _imported_parts(path: Path) -> Iterator[tuple[int, str]]:
    for line, name in imports(path):
        if name.partition(".")[0] != "treadle":
            continue
        yield line, _part(name if name in _MODULES else name.rpartition(".")[0] or name)


@pytest.mark.parametrize("path", FILES, ids=_id)
def test_every_module_has_a_line_in_the_table(path: Path) -> None:
    assert _part(module_name(path)) in MAY_IMPORT


@pytest.mark.parametrize("path", FILES, ids=_id)
def test_no_arrow_of_import_is_reversed(path: Path) -> None:
    own = _part(module_name(path))

    allowed = MAY_IMPORT.get(own, set()) | {own}

    wrong = [f"line {line}: {part}" for line, part in _imported_parts(path) if part not in allowed]
    assert not wrong, f"{own} may not import {', '.join(wrong)}"


@pytest.mark.parametrize("path", python_files(CORE / "domain"), ids=_id)
def test_the_domain_imports_only_msgspec_and_what_is_calm(path: Path) -> None:
    wrong = [name for _, name in imports(path) if not CALM.fullmatch(name.partition(".")[0])]

    assert not wrong


@pytest.mark.parametrize("path", FILES, ids=_id)
def test_the_core_runs_on_anyio_alone(path: Path) -> None:
    wrong = [line for line, name in imports(path) if name.partition(".")[0] == "asyncio"]

    # A loop on virtual time has to be made from a real one; only tests ever run on it.
    assert not wrong or path == CORE / "testing" / "virtual.py", f"asyncio in line {wrong}"


@pytest.mark.promise(11)
@pytest.mark.parametrize("path", FILES, ids=_id)
def test_the_wall_clock_is_read_in_one_file(path: Path) -> None:
    found = [f"{line}: {name}" for line, name in used_names(path) if CLOCK.fullmatch(name)]

    assert not found or path == CORE / "runtime" / "clock.py", found


@pytest.mark.parametrize("path", FILES, ids=_id)
def test_chance_comes_from_one_file(path: Path) -> None:
    found = [f"{line}: {name}" for line, name in used_names(path) if CHANCE.fullmatch(name)]

    assert not found or path == CORE / "runtime" / "ids.py", found


@pytest.mark.security(1)
@pytest.mark.parametrize("path", FILES, ids=_id)
def test_data_is_never_turned_into_code(path: Path) -> None:
    modules = [name for _, name in imports(path) if name.partition(".")[0] in UNSAFE_MODULES]

    calls = [f"{line}: {name}" for line, name in used_names(path) if name in UNSAFE_CALLS]

    assert not modules + calls


@pytest.mark.parametrize("path", WRITTEN_BY_US, ids=_id)
def test_a_file_has_at_most_500_lines(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())

    assert lines <= 500, "split it by concept"


def test_plugins_and_examples_use_public_names_only() -> None:
    wrong = [
        f"{_id(path)}:{line}: {name}"
        for path in python_files(ROOT / "plugins", ROOT / "examples")
        for line, name in imports(path)
        if name.startswith("treadle.") and re.search(r"\._[a-z]", name)
    ]

    assert not wrong
