"""One mutant on trial: which case catches it, and after how many examples the machine does."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from treadle.conformance import campaign
from treadle.conformance.case import Case, cases_of
from treadle.conformance.mutants.mutant import CONTROLS, Mutant, mutants
from treadle.conformance.report import Result
from treadle.conformance.run import Patience, run_case

CASE_LIMIT_S = 4.0
"""A mutant that lets a call wait for ever shall not hold up the others; a control has its time."""
STEP_LIMIT_S = 3.0
FILES_SHARE = 4
"""An example on a file costs several times what it costs in memory: so many times fewer are run."""


class Verdict(Struct, frozen=True, kw_only=True):
    """What was found out about one mutant."""

    id: str
    broken: str
    case: str
    """The id of the case that caught it, "" if none did."""
    examples: int | None
    """How many examples the machine ran; None if it was not asked."""
    by_machine: bool
    """Whether the last of them caught it."""
    kind: str = ""
    """The class of the error that the machine found."""
    seconds: float

    @property
    def is_caught(self) -> bool:
        """Tell whether the kit has seen that something is broken."""
        return bool(self.case) or self.by_machine


def known(ids: list[str] | None = None) -> list[Mutant]:
    """Return the controls and the mutants, or those of some ids."""
    return [each for each in (*CONTROLS, *mutants()) if not ids or each.id in ids]


def first_failing(mutant: Mutant, folder: Path) -> str:
    """Return the id of the first case that catches a mutant; that of its own promise comes first."""
    subject = mutant.subject(folder)
    patience = Patience(CASE_LIMIT_S if mutant.case else None)
    for case in _in_order(mutant.case):
        finished = run_case(subject, case, "asyncio", patience)
        if finished.row.result is Result.FAILED:
            return case.id
    return ""


def try_mutant(id: str, *, examples: int, seed: int, both: bool) -> Verdict:
    """Run the cases, and then the machine if no case caught it or `both` are wanted."""
    (mutant,) = known([id])
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="treadle-mutant-") as folder:
        case = first_failing(mutant, Path(folder))
        found = None
        if both or not case:
            found = _by_machine(mutant, Path(folder), examples, seed)
    return Verdict(
        id=id,
        broken=mutant.broken,
        case=case,
        examples=None if found is None else found.examples,
        by_machine=found is not None and found.found is not None,
        kind="" if found is None or found.found is None else found.found.kind,
        seconds=time.monotonic() - began,
    )


def _by_machine(mutant: Mutant, folder: Path, examples: int, seed: int) -> campaign.Outcome:
    if mutant.store == "sqlite":
        examples = max(examples // FILES_SHARE, 1)
    subject = mutant.subject(folder)
    return campaign.run(subject, examples, seed, shrink=False, step_limit_s=STEP_LIMIT_S)


def _in_order(first: str) -> Iterator[Case]:
    every = cases_of()
    yield from (case for case in every if case.id == first)
    yield from (case for case in every if case.id != first)
