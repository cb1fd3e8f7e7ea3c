"""The brokers in the box come through the same door as everybody's: no entry point, no broker."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

import treadle
from treadle.plugins import FIRST_PARTY, PLUGINS

START = (
    "import sys; sys.path[:0] = sys.argv.pop(1).split('|'); from treadle.cli import main; main()"
)
BOTH = {"memory": "treadle.broker.memory", "sqlite": "treadle.broker.sqlite"}


def qrun(folder: Path, entry_points: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Run the command with only these entry points of Treadle, and everything it depends on."""
    installed = folder / "installed"
    installed.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "treadle" not in entry.name:
            (installed / entry.name).symlink_to(entry)
    (installed / "treadle").symlink_to(Path(treadle.__file__).parent)
    info = installed / "treadle-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: treadle\nVersion: 0.1.0\n")
    lines = [f"{name} = {module}" for name, module in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[treadle.brokers]", *lines, ""]))
    command = [sys.executable, "-S", "-c", START, str(installed), *arguments]
    ran = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    return ran.returncode, ran.stderr


@pytest.mark.parametrize("scheme", ["memory", "sqlite"])
def test_a_broker_whose_entry_point_is_removed_ends_with_5(tmp_path: Path, scheme: str) -> None:
    others = {name: module for name, module in BOTH.items() if name != scheme}

    code, said = qrun(tmp_path, others, "queues", "list", "--url", f"{scheme}:///x.db")

    assert code == 5, said
    assert f"No broker for '{scheme}://'" in said


def test_with_its_entry_point_the_same_broker_is_found(tmp_path: Path) -> None:
    code, said = qrun(tmp_path, BOTH, "queues", "list", "--url", "sqlite:///x.db")

    assert code == 0, said


def test_every_first_party_plugin_is_one_that_is_here() -> None:
    files = Path(__file__).parents[2].glob("plugins/*/pyproject.toml")
    projects = [tomllib.loads(each.read_text())["project"] for each in files]
    here = {
        name: one["name"]
        for one in projects
        for name in one.get("entry-points", {}).get(PLUGINS, {})
    }

    assert dict(FIRST_PARTY) == here
