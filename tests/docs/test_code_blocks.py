"""The pages are true: their Python blocks run, and `qrun` understands their shell lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.docs.page import Page, commands
from tests.support.source import ROOT

# Pages that are read with a shell beside them: what they say is done, not only understood.
FOLLOWED = ("README.md", "docs/tutorial")

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


@pytest.mark.parametrize("path", PAGES, ids=_id)
def test_the_code_of_the_page_runs(
    path: Path, tmp_path: Path, portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = Page(path, tmp_path, portal, shell=_id(path).startswith(FOLLOWED))

    page.run()


def test_the_readme_shows_a_whole_program_in_its_first_30_lines() -> None:
    start = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:30]

    opened = start.index("```python")

    assert "```" in start[opened + 1 :]


def test_the_gate_is_the_second_command_of_the_readme() -> None:
    gate = 'python3 -m venv .venv && .venv/bin/pip install -q "nox[uv]" && .venv/bin/nox'

    readme = list(commands((ROOT / "README.md").read_text(encoding="utf-8"), prompt=False))

    assert gate in readme
    assert f"{gate} || exit\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
