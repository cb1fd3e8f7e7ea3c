"""What the pages take from the code is what the code says now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec import structs

from docs import diagram, generate
from tests.support.source import ROOT
from treadle.domain.state import TRANSITIONS, State
from treadle.settings import NAMES, PLAIN_NAMES, Settings, load

WANTED = generate.generated()


def _id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", sorted(WANTED), ids=_id)
def test_the_page_is_not_stale(path: Path) -> None:
    assert not generate.is_stale(path, WANTED[path]), "run: python docs/generate.py"


def test_every_generated_part_has_a_place_in_a_page() -> None:
    text = "".join(WANTED.values())

    assert {match["name"] for match in generate.REGION.finditer(text)} == set(generate.REGIONS)


@pytest.mark.contract("F18")
def test_the_example_of_dotenv_is_all_settings_and_their_defaults(tmp_path: Path) -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert "\n".join(re.findall(r"(?m)^[^#\n].*$", text)) == ""

    given = dict(re.findall(r"(?m)^#(\w+)=(.*)$", text))
    ours = {name: value for name, value in given.items() if not name.startswith("QRUN_SCHEDULES")}
    (tmp_path / ".env").write_text("".join(f"{name}={ours[name]}\n" for name in ours))

    assert ours.keys() == {*NAMES, *PLAIN_NAMES}
    assert structs.replace(load(folder=tmp_path, environ={}), origins={}) == Settings()
    assert list(load(folder=tmp_path, environ=given).schedules) == ["nightly"]


def test_the_diagram_shows_every_state_and_every_event_of_the_table() -> None:
    words = set(re.findall(r"\w+", diagram.draw()))

    assert words >= {state.name.lower() for state in State}
    assert words >= {event.value for _, event in TRANSITIONS}


def test_the_diagram_draws_every_arrow_of_the_table_once() -> None:
    drawn = diagram.draw().count('class="arrow"')

    assert drawn == len(diagram.arrows())
    assert sum(len(events) for events in diagram.arrows().values()) >= len(TRANSITIONS) - 4
