"""The cases and mutants of the conformance kit, as the reference lists them."""

from __future__ import annotations

from collections.abc import Iterator

from treadle.conformance import Case, cases_of
from treadle.conformance.mutants import mutants as every_mutant


def cases() -> str:
    """Return a table of the cases for each group of operations, in the order of their ids."""
    groups: dict[str, list[Case]] = {}
    for case in cases_of():
        groups.setdefault(case.group, []).append(case)
    parts = [f"### {group.replace('_', ' ')}\n\n{_table(found)}" for group, found in groups.items()]
    return "\n\n".join(parts)


def by_promise() -> dict[str, list[str]]:
    """Map the number of each promise to the ids of the cases that show it."""
    found: dict[str, list[str]] = {}
    for case in cases_of():
        for number in case.promises:
            found.setdefault(str(number), []).append(case.id)
    return found


def mutants() -> str:
    """Return a table of the mutants, each with the case whose promise it breaks."""
    titles = {case.id: case.title for case in cases_of()}
    rows = (
        f"| {each.id} | {each.broken} | {each.case} {titles[each.case]} | {each.store} |"
        for each in every_mutant()
    )
    return "\n".join(
        ["| id | what is broken | promise | made of |", "| --- | --- | --- | --- |", *rows]
    )


def _table(found: list[Case]) -> str:
    return "\n".join(
        ["| id | promise | guarantee | level |", "| --- | --- | --- | --- |", *_rows(found)]
    )


def _rows(found: list[Case]) -> Iterator[str]:
    for case in found:
        numbers = ", ".join(map(str, case.promises))
        yield f"| {case.id} | {case.title} | {numbers} | {case.level} |"
