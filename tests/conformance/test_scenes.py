"""The scenes of generated programs: good brokers pass each, and some show what is broken at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from treadle.conformance import Subject
from treadle.conformance.mutants import mutants
from treadle.conformance.program import try_program
from treadle.conformance.program.scenes import Scene, kinds

pytestmark = pytest.mark.anyio

KINDS = kinds()
MUTANTS = {each.id: each for each in mutants()}


@pytest.fixture
def anyio_backend() -> str:
    """Run on one event loop: nothing here depends on it."""
    return "asyncio"


async def is_caught(subject: Subject, scene: Scene) -> bool:
    try:
        await try_program(subject, scene)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("kind", KINDS)
async def test_a_good_broker_plays_every_scene(kind: str) -> None:
    subject = Subject("memory://", movable=True)

    for scene in dict.fromkeys(KINDS[kind]):
        await try_program(subject, scene)


@pytest.mark.parametrize(
    ("id", "kind"),
    [
        ("M02", "stale_requests"),
        ("M03", "stale_requests"),
        ("M14", "moves"),
        ("M16", "moves"),
        ("M27", "versions"),
        ("M48", "versions"),
        ("M52", "two_parents"),
        ("M63", "second_runs"),
        ("M66", "second_runs"),
        ("M75", "papers"),
        ("M76", "papers"),
        ("M80", "moves"),
    ],
)
async def test_a_scene_shows_what_it_is_there_for(id: str, kind: str, tmp_path: Path) -> None:
    subject = MUTANTS[id].subject(tmp_path)

    for scene in KINDS[kind]:
        if await is_caught(subject, scene):
            return
    raise AssertionError(f"no scene of {kind} catches {id}")


async def test_kinds_come_about_equally_often() -> None:
    sizes = {kind: len(scenes) for kind, scenes in KINDS.items()}

    assert min(sizes.values()) >= 4
    assert max(sizes.values()) < 100
