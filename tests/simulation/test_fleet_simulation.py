"""The real worker on a simulated broker in virtual time: a hundred seeds of trouble, and the laws hold.

The whole campaign is `python -m treadle.testing.sim --seeds 0:5000 --processes 2`; `pytest --sim-seed N`
runs one seed and prints its trace.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from treadle.testing.sim.campaign import again, backend_of
from treadle.testing.sim.plan import plan
from treadle.testing.sim.world import run

SEEDS = range(100)
GROUPS = 10


@pytest.mark.promise(1, 3, 4, 5, 6, 7, 8, 9, 11)
@pytest.mark.parametrize("group", range(GROUPS))
def test_no_seed_breaks_a_law(group: int) -> None:
    for seed in SEEDS[group::GROUPS]:
        one = run(seed, backend=backend_of(seed))

        assert not one.violations, f"seed {seed}: {one.violations}\nagain: {again(seed)}"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_seed_is_one_run_byte_for_byte(backend: str) -> None:
    first, second = (run(7, backend=backend).trace.text() for _ in range(2))

    assert first == second


def test_a_seed_is_the_same_run_in_another_process() -> None:
    here = run(7).trace.text()
    command = [sys.executable, "-m", "treadle.testing.sim", "--seed", "7", "--backend", "asyncio"]

    there = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)

    assert there.stdout == here


def test_two_seeds_are_two_runs() -> None:
    assert run(1).trace.digest() != run(2).trace.digest()


def test_pytest_prints_the_trace_of_a_seed() -> None:
    command = [sys.executable, "-m", "pytest", "--sim-seed", "7"]

    printed = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)

    assert printed.stdout == run(7, backend=backend_of(7)).trace.text()


@pytest.mark.slow
def test_pytest_prints_the_same_of_a_seed_whenever_it_is_asked() -> None:
    command = [sys.executable, "-m", "pytest", "--sim-seed", "7"]

    first, second = (
        subprocess.run(
            command,
            env={**os.environ, "PYTHONHASHSEED": number},
            capture_output=True,
            timeout=240,
            check=True,
        )
        for number in ("1", "2")
    )

    assert first.stdout == second.stdout
    assert len(first.stdout) > 10_000


def test_a_campaign_has_every_kind_of_trouble() -> None:
    plans = [plan(seed) for seed in SEEDS]

    for kind in ("kills", "stops", "jumps", "crashes", "drains", "cancels", "retries", "pauses"):
        assert sum(bool(getattr(each, kind)) for each in plans) > 5, kind
    for fault in ("lost_request", "lost_reply", "late", "twice"):
        assert sum(bool(getattr(each.weather, fault)) for each in plans) > 5, fault
    assert any(each.everysec for each in plans)
