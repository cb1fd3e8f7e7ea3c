"""The example plugins, as a stranger meets them: an empty environment, an installer, an index."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.support.source import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ALLOWED = """
    [tool.treadle]
    plugins = ["greetings", "timing"]

    [tool.treadle.plugin.greetings]
    word = "Good day"
"""

APP = """
    from treadle import Jobs

    jobs = Jobs()
"""

ENQUEUE = """
    from app import jobs

    jobs.load_plugins()
    greet, count = jobs.handlers["greetings.greet"], jobs.handlers["greetings.count"]
    print(greet.enqueue_sync("Ada").id, count.enqueue_sync(names=["Ada", "Eve"]).id)
"""

READ = """
    import json, sys
    from app import jobs
    from treadle.domain.job import Ref
    from treadle.runtime.portal import PORTAL

    for id in sys.argv[1:]:
        job = jobs.get_sync(id).refresh_sync()
        notes = PORTAL.call(jobs.client.notes, Ref(job.queue, job.id))
        told = job.progress.done if job.progress else None
        log = [text for _, _, text in notes.log]
        print(json.dumps([job.state, job.result_sync(5), told, log]))
"""


class Place:
    """An environment with the plugins installed, and a folder with an application."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self._programs = programs
        self._environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "VIRTUAL_ENV", "QRUN_"))
        }
        self.write("app.py", APP)

    def write(self, name: str, text: str) -> None:
        """Write a file of the application."""
        (self.folder / name).write_text(dedent(text), encoding="utf-8")

    def run(self, program: str, *args: str, **environ: str) -> str:
        """Run a program of the environment and return what it prints."""
        done = subprocess.run(
            [self._programs / program, *args],
            cwd=self.folder,
            env={**self._environ, **environ},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def python(self, program: str, *args: str) -> str:
        """Run Python code in the folder of the application."""
        return self.run("python", "-c", dedent(program), *args)

    def statuses(self, **environ: str) -> dict[str, str]:
        """Ask `qrun plugins` what became of each plugin."""
        lines = self.run("qrun", "plugins", "--json", **environ).splitlines()
        found: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return {info["name"]: info["status"] for info in found if info["group"] == "treadle"}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install Treadle and both plugins into an empty environment, as their README says."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", home], check=True, timeout=240)
    programs = home / "bin"
    uv = shutil.which("uv")
    pip = [programs / "python", "-m", "pip"] if uv is None else [uv, "pip"]
    which = [] if uv is None else ["--python", programs / "python"]
    paths = [ROOT, ROOT / "examples/plugin-handlers", ROOT / "examples/plugin-middleware"]
    command = [*pip, "install", "-q", *which, "-c", ROOT / "constraints.txt", *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return programs


@pytest.fixture
def place(programs: Path, tmp_path: Path) -> Place:
    return Place(tmp_path, programs)


@pytest.mark.security(19)
def test_installed_plugins_are_found_but_not_loaded_until_they_are_allowed(place: Place) -> None:
    assert place.statuses() == {"greetings": "found, not loaded", "timing": "found, not loaded"}

    place.write("pyproject.toml", ALLOWED)

    assert place.statuses() == {"greetings": "loaded", "timing": "loaded"}
    assert place.statuses(QRUN_PLUGINS="none", QRUN_DISABLE_PLUGINS="timing") == {
        "greetings": "found, not loaded",
        "timing": "disabled",
    }


def test_handlers_and_middleware_of_plugins_run(place: Place) -> None:
    place.write("pyproject.toml", ALLOWED)

    ids = place.python(ENQUEUE).split()
    place.run("qrun", "worker", "--burst")
    greeting, counted = [json.loads(line) for line in place.python(READ, *ids).splitlines()]

    assert greeting[:2] == ["succeeded", "Good day, Ada!"]
    assert counted[:3] == ["succeeded", 2, 2]
    assert [line.startswith("attempt 1 succeeded in ") for line in greeting[3]] == [True]
