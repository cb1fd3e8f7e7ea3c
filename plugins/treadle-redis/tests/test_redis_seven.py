"""Redis itself: the server on PATH, or the one of Debian's package, unpacked into a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PACKAGES = ("redis-server", "redis-tools", "libjemalloc2", "liblzf1", "libatomic1")
MODULES = ("test_heads.py", "test_records.py", "test_slots.py", "test_conformance.py")


def _run(*command: str, folder: Path) -> str:
    """Run a command in a folder; skip with its last words if it fails."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"no redis-server on PATH, and none from Debian: {error}")
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing was said"]
        pytest.skip(f"no redis-server on PATH, and none from Debian: {command[0]}: {said[-1]}")
    return done.stdout


def _unpacked(folder: Path) -> str:
    """Download Debian's packages and unpack them; nothing is installed, and nothing is started."""
    _run("apt-get", "download", *PACKAGES, folder=folder)
    for package in sorted(folder.glob("*.deb")):
        _run("dpkg", "-x", str(package), str(folder), folder=folder)
    libraries = ":".join(sorted({str(path.parent) for path in folder.rglob("*.so*")}))
    script = folder / "redis-server"
    script.write_text(
        f'#!/bin/sh\nLD_LIBRARY_PATH="{libraries}" exec "{folder}/usr/bin/redis-server" "$@"\n'
    )
    script.chmod(0o755)
    return str(script)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the path of a redis-server."""
    folder = tmp_path_factory.mktemp("redis")
    found = shutil.which("redis-server") or _unpacked(folder)
    _run(found, "--version", folder=folder)
    return found


@pytest.mark.proof
@pytest.mark.timeout(1_800)
@pytest.mark.contract("F21")
def test_redis_passes_what_valkey_passes(redis_server: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not proof", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, f"--basetemp={tmp_path / 'tests'}", *(str(HERE / each) for each in MODULES)],
        env={**os.environ, "TREADLE_REDIS_SERVER": redis_server},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
