"""Long runs: the same seed gives the same programs, also when a run is broken off and goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from treadle.conformance.campaign import Progress, Search
from treadle.conformance.program import Op
from treadle.conformance.program.trial import Show
from treadle.conformance.watch import Work
from treadle.errors import ConfigurationError

Programs = list[tuple[Op, ...]]


def counting(
    programs: Programs, fail_at: int | None = None, before: Callable[[], None] = lambda: None
) -> Search:
    """Make a search that runs nothing, and keeps what it was to run."""

    def attempt(program: tuple[Op, ...], show: Show) -> Work:
        before()
        programs.append(program)

        async def work() -> None:
            if len(programs) == fail_at:
                raise AssertionError("as asked")

        return work

    return Search(attempt, "nothing")


def broken_off(programs: Programs, after: int) -> Search:
    """Make one whose user loses patience after so many programs."""

    def leave() -> None:
        if len(programs) == after:
            raise KeyboardInterrupt

    return counting(programs, before=leave)


def noted(state: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(state.read_bytes())
    return found


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.conformance.campaign.CHUNK", 20)


def test_a_seed_gives_the_same_programs_again() -> None:
    first: Programs = []
    second: Programs = []
    other: Programs = []

    counting(first).run(20, 7, resume=None, shrink=False)
    counting(second).run(20, 7, resume=None, shrink=False)
    counting(other).run(20, 8, resume=None, shrink=False)

    assert first == second != other


def test_a_run_goes_on_behind_the_chunks_that_were_done(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    whole: Programs = []
    parts: Programs = []

    counting(whole).run(40, 9, resume=None, shrink=False)
    counting(parts).run(20, 9, resume=state, shrink=False)
    outcome = counting(parts).run(40, 9, resume=state, shrink=False)

    assert parts == whole
    assert outcome.examples >= 40
    with pytest.raises(ConfigurationError, match="another run"):
        counting([]).run(20, 10, resume=state, shrink=False)


@pytest.mark.parametrize("after", [7, 33])
def test_a_run_that_is_broken_off_goes_on_with_the_next_program(tmp_path: Path, after: int) -> None:
    state = tmp_path / "state.json"
    whole: Programs = []
    parts: Programs = []
    counting(whole).run(50, 9, resume=None, shrink=False)

    with pytest.raises(KeyboardInterrupt):
        broken_off(parts, after).run(50, 9, resume=state, shrink=False)
    outcome = counting(parts).run(50, 9, resume=state, shrink=False)

    assert parts == whole
    assert outcome.examples >= 50


def test_what_has_passed_is_noted_with_each_line_of_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treadle.conformance.campaign.PROGRESS_S", 0.0)
    state = tmp_path / "state.json"
    seen: list[int] = []

    def look() -> None:
        seen.append(noted(state)["part"] if state.exists() else 0)

    counting([], before=look).run(10, 9, resume=state, shrink=False)

    assert seen == list(range(len(seen)))
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_run_of_another_length_goes_on_behind_its_whole_chunks(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    whole: Programs = []
    chunk: Programs = []
    again: Programs = []
    counting(whole).run(40, 9, resume=None, shrink=False)
    counting(chunk).run(20, 9, resume=None, shrink=False)

    counting([]).run(30, 9, resume=state, shrink=False)
    counting(again).run(40, 9, resume=state, shrink=False)

    assert again == whole[len(chunk) :]


def test_a_run_that_is_over_has_nothing_left_to_do(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    counting([]).run(30, 9, resume=state, shrink=False)
    again: Programs = []

    outcome = counting(again).run(30, 9, resume=state, shrink=False)

    assert again == []
    assert outcome.examples == 30


def test_a_program_that_failed_comes_first_when_its_run_goes_on(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    failed: Programs = []
    again: Programs = []

    outcome = counting(failed, fail_at=3).run(20, 9, resume=state, shrink=False)
    counting(again).run(20, 9, resume=state, shrink=False)

    assert outcome.found is not None
    assert outcome.examples == 3
    assert again[0] == failed[2]


def test_a_file_that_is_no_state_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_text("{")

    with pytest.raises(ConfigurationError, match="resumed"):
        counting([]).run(1, 9, resume=state, shrink=False)


def test_a_long_run_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.conformance.campaign.PROGRESS_S", 0.0)
    told: list[Progress] = []
    search = counting([])
    search.progress = told.append

    search.run(20, 1, resume=None, shrink=False)

    assert [one.examples for one in told] == sorted(one.examples for one in told)
    assert told[-1].of == 20
    assert not any(one.is_resuming for one in told)


def test_a_run_that_goes_on_says_first_behind_what(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    with pytest.raises(KeyboardInterrupt):
        broken_off([], 27).run(50, 9, resume=state, shrink=False)
    told: list[Progress] = []
    search = counting([])
    search.progress = told.append

    search.run(50, 9, resume=state, shrink=False)

    assert (told[0].is_resuming, told[0].of) == (True, 50)
    assert 20 <= told[0].examples <= 27


@pytest.mark.slow
def test_the_command_says_behind_what_it_goes_on(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "treadle", "verify", "memory://", "--only", "machine"),
        *("--examples", "12", "--resume", "state.json"),
    ]

    first, again = (
        subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=True
        )
        for _ in range(2)
    )

    assert "machine: goes on behind 12 of 12 examples" in again.stderr
    assert "goes on" not in first.stderr


def test_no_more_programs_are_played_than_were_asked_for() -> None:
    """Hypothesis draws a few more than it counts: those that it had before, for one."""
    programs: Programs = []

    outcome = counting(programs).run(100, 7, resume=None, shrink=False)

    assert len(programs) == outcome.examples == 100
