"""Write what the documentation takes from the code, so that the two cannot drift apart.

`python docs/generate.py` rewrites the generated parts of the pages in place: the regions between
`<!-- generated: NAME -->` and `<!-- end -->`, the diagram of the state machine, the lines
`Shown by:` of the guarantees (tests, and cases of the conformance kit), the last cells of the
contracts and of the security list, and `.env.example`. With `--check` it changes nothing and says what
is stale; a test does the same.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from docs import diagram, from_code, kit  # noqa: E402 - the path is set above

REGION = re.compile(
    r"(?P<start><!-- generated: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL
)
PLANNED = "planned"

REGIONS: Mapping[str, Callable[[], str]] = {
    "transitions": from_code.transitions,
    "shown-states": from_code.shown_states,
    "reasons": from_code.reasons,
    "error-tree": from_code.error_tree,
    "errors": from_code.error_entries,
    "settings": from_code.settings,
    "plain-names": from_code.plain_names,
    "schedule-settings": from_code.schedule_settings,
    "hooks": from_code.hooks,
    "commands": from_code.commands,
    "broker": from_code.broker,
    "capabilities": from_code.capabilities,
    "conformance-cases": kit.cases,
    "mutants": kit.mutants,
}


def generated() -> dict[Path, str]:
    """Return every page and picture that has generated parts, as it should be."""
    tests = {marker: marked(marker) for marker in ("promise", "contract", "security")}
    wanted = {
        DOCS / "reference" / "state-machine.svg": diagram.draw(),
        ROOT / ".env.example": from_code.env_example(),
    }
    for page in sorted(DOCS.rglob("*.md")):
        text = REGION.sub(_region, page.read_text(encoding="utf-8"))
        if page.name == "guarantees.md":
            text = _guarantees(text, tests["promise"], kit.by_promise())
        if page.name == "contracts.md":
            text = _rows(text, tests["contract"])
        if page.name == "security.md":
            text = _rows(text, tests["security"])
        wanted[page] = text
    return wanted


def _region(found: re.Match[str]) -> str:
    return f"{found['start']}\n{REGIONS[found['name']]().strip()}\n\n{found['end']}"


def marked(marker: str) -> dict[str, list[str]]:
    """Map each argument of `@pytest.mark.<marker>(...)` to the test files that name it."""
    found: dict[str, set[str]] = {}
    folders = [ROOT / "tests", *sorted((ROOT / "plugins").glob("*/tests"))]
    for path in sorted(one for folder in folders for one in folder.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == f"pytest.mark.{marker}":
                for argument in node.args:
                    if isinstance(argument, ast.Constant):
                        name = path.relative_to(ROOT).as_posix()
                        found.setdefault(str(argument.value), set()).add(name)
    return {key: sorted(paths) for key, paths in found.items()}


def _guarantees(text: str, tests: Mapping[str, list[str]], cases: Mapping[str, list[str]]) -> str:
    """Name the tests and the cases of each promise below its heading."""
    number = ""
    lines: list[str] = []
    for line in text.splitlines():
        heading = re.match(r"## (\d+)\. ", line)
        number = heading[1] if heading else number
        if line.startswith("Shown by:"):
            lines.append(_shown_by(tests.get(number, []), cases.get(number, [])))
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def _shown_by(paths: list[str], cases: list[str]) -> str:
    shown = [f"`{path}`" for path in paths]
    if cases:
        shown.append(f"[cases](reference/conformance.md) {' '.join(cases)}")
    return "Shown by: " + (", ".join(shown) or f"{PLANNED}, not yet") + "."


def _rows(text: str, tests: Mapping[str, list[str]]) -> str:
    """Fill the last cell of each row with the tests that show it."""

    def filled(row: re.Match[str]) -> str:
        paths = [f"`{path.removeprefix('tests/')}`" for path in tests.get(row["id"], [])]
        return f"{row['start']} {', '.join(paths) or f'{PLANNED}, not yet'} |"

    row = re.compile(r"^(?P<start>\| (?P<id>[EFR]\d\d|\d+) \|.*\|)[^|\n]*\|$", re.MULTILINE)
    return row.sub(filled, text)


def is_stale(path: Path, text: str) -> bool:
    """Tell whether a file is not as it should be."""
    return not path.exists() or path.read_text(encoding="utf-8") != text


def main() -> int:
    """Rewrite what is stale, or with `--check` only name it."""
    parser = argparse.ArgumentParser(description="Write the generated parts of the docs.")
    parser.add_argument("--check", action="store_true", help="change nothing, fail if stale")
    check = parser.parse_args().check
    wanted = generated()
    found = [path for path in wanted if is_stale(path, wanted[path])]
    for path in found:
        print("stale:" if check else "written:", path.relative_to(ROOT))  # noqa: T201 - its work
        if not check:
            path.write_text(wanted[path], encoding="utf-8")
    return int(bool(found) and check)


if __name__ == "__main__":
    raise SystemExit(main())
