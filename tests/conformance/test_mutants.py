"""The mutants: each fails the case whose promise it breaks, and nothing else makes it fail."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from treadle.conformance import Result, cases_of
from treadle.conformance.mutants import CONTROLS, Mutant, mutants
from treadle.conformance.mutants.run import is_wrong, line_of, main, summary
from treadle.conformance.mutants.trial import Verdict, try_mutant
from treadle.conformance.run import Patience, run_case

CASES = {each.id: each for each in cases_of()}
WAIT_FOR_EVER = {"M19", "M23", "M24", "M25", "M26"}
"""These do not answer: that is how they fail. Every other one has all the time of its case."""


def result_of(mutant: Mutant, case: str, folder: Path, limit_s: float | None = None) -> Result:
    subject = mutant.subject(folder)
    return run_case(subject, CASES[case], "asyncio", Patience(limit_s)).row.result


def verdict(id: str, *, case: str = "", examples: int | None = None, found: str = "") -> Verdict:
    return Verdict(
        id=id,
        broken="It forgets.",
        case=case,
        examples=examples,
        by_machine=bool(found),
        kind=found,
        seconds=1.5,
    )


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.id)
def test_a_mutant_fails_the_case_of_the_promise_that_it_breaks(
    mutant: Mutant, tmp_path: Path
) -> None:
    limit_s = 1.0 if mutant.id in WAIT_FOR_EVER else None

    assert result_of(mutant, mutant.case, tmp_path, limit_s) is Result.FAILED


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.id)
def test_the_same_wrapper_around_a_good_broker_passes_these_cases(
    control: Mutant, tmp_path: Path
) -> None:
    broken = {each.case for each in mutants() if each.store == control.store}

    failed = [case for case in broken if result_of(control, case, tmp_path) is not Result.PASSED]

    assert failed == []


def test_there_are_enough_mutants() -> None:
    assert len(mutants()) >= 30
    assert {each.store for each in mutants()} == {"memory", "sqlite"}


def test_ids_are_m_and_numbers_without_a_gap() -> None:
    ids = [each.id for each in mutants()]

    assert ids == [f"M{number:02}" for number in range(1, len(ids) + 1)]


def test_what_is_broken_is_a_sentence_of_its_own() -> None:
    told = [each.broken for each in mutants()]

    assert len(told) == len(set(told))
    assert all(re.match(r"[A-Z].* ", each) and not each.endswith(".") for each in told)


def test_a_mutant_that_nobody_knows_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "M01", "--only", "M999"]) == 2
    assert "M999" in capsys.readouterr().err


def test_one_mutant_is_tried_by_the_case_of_its_own_first() -> None:
    tried = try_mutant("M01", examples=50, seed=1, both=False)

    assert (tried.case, tried.examples) == ("C308", None)
    assert tried.is_caught


def test_the_machine_catches_one_too_if_asked() -> None:
    tried = try_mutant("M06", examples=100, seed=1, both=True)

    assert tried.case == "C204"
    assert tried.by_machine
    assert 0 < (tried.examples or 0) <= 100


def test_a_survivor_and_a_blamed_control_are_wrong() -> None:
    assert is_wrong(verdict("M01", examples=1_000))
    assert is_wrong(verdict("memory", examples=7, found="Disagreement"))
    assert not is_wrong(verdict("M01", case="C308"))
    assert not is_wrong(verdict("M01", examples=7, found="Disagreement"))
    assert not is_wrong(verdict("memory", examples=1_000))


def test_a_line_says_what_caught_a_mutant() -> None:
    both = line_of(verdict("M01", case="C308", examples=1, found="Disagreement"))
    only_a_case = line_of(verdict("M02", case="C318", examples=50))
    survivor = line_of(verdict("M03", examples=50))

    assert "C308, Disagreement after 1 example " in both
    assert "C318, not by 50 examples" in only_a_case
    assert "SURVIVED" in survivor
    assert "clean" in line_of(verdict("memory", examples=50))


def test_the_summary_names_survivors_and_blamed_controls() -> None:
    verdicts = [
        verdict("memory", examples=7, found="Disagreement"),
        verdict("M01", case="C308"),
        verdict("M02", examples=50),
    ]

    text = "\n".join(summary(verdicts, 12.0))

    assert "1 of 2 mutants caught in 12 s" in text
    assert "Survived: M02." in text
    assert "Blamed though nothing is broken: memory." in text
