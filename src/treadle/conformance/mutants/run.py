"""Run the kit against every mutant, some at a time, and say what caught each of them."""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path

import click
import msgspec

from treadle.conformance.campaign import PROFILES
from treadle.conformance.mutants.mutant import CONTROLS
from treadle.conformance.mutants.trial import Verdict, known, try_mutant

_CONTROLS = frozenset(control.id for control in CONTROLS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants; return 1 if one survives, or if a broker that is not broken was blamed."""
    given = _parser().parse_args(arguments)
    chosen = [each.id for each in known(given.only)]
    strange = set(given.only or ()) - set(chosen)
    if strange or not chosen:
        click.echo(f"no mutant is called {', '.join(sorted(strange))}", err=True)
        return 2
    began = time.monotonic()
    verdicts = _tried(chosen, given)
    if given.json is not None:
        given.json.write_bytes(msgspec.json.format(msgspec.json.encode(verdicts), indent=2))
    for line in summary(verdicts, time.monotonic() - began):
        click.echo(line)
    return int(any(is_wrong(verdict) for verdict in verdicts))


def is_wrong(verdict: Verdict) -> bool:
    """Tell whether the kit judged wrongly: a mutant survived, or a control was blamed."""
    return verdict.is_caught == (verdict.id in _CONTROLS)


def line_of(verdict: Verdict) -> str:
    """Say what caught a mutant, in one line."""
    parts = [verdict.case] if verdict.case else []
    if verdict.by_machine:
        parts.append(f"{verdict.kind} after {_examples(verdict)}")
    elif verdict.examples is not None and verdict.case:
        parts.append(f"not by {_examples(verdict)}")
    blame = ", ".join(parts)
    if not blame:
        blame = "clean" if verdict.id in _CONTROLS else "SURVIVED"
    wrong = "  WRONG" if is_wrong(verdict) else ""
    return f"{verdict.id:<7}{verdict.seconds:6.1f} s  {blame:<40} {verdict.broken}{wrong}"


def summary(verdicts: Sequence[Verdict], seconds: float) -> list[str]:
    """Say how many were caught, and by what."""
    tried = [verdict for verdict in verdicts if verdict.id not in _CONTROLS]
    caught = [verdict for verdict in tried if verdict.is_caught]
    by_case = sum(bool(one.case) for one in tried)
    by_machine = sum(one.by_machine for one in tried)
    on_machine = sum(one.examples is not None for one in tried)
    lines = [
        "",
        f"{len(caught)} of {len(tried)} mutants caught in {seconds:.0f} s.",
        f"By a case: {by_case}. By the machine: {by_machine} of {on_machine} that it was tried on.",
    ]
    survivors = [verdict.id for verdict in tried if not verdict.is_caught]
    blamed = [one.id for one in verdicts if one.id in _CONTROLS and one.is_caught]
    lines += [f"Survived: {', '.join(survivors)}."] if survivors else []
    lines += [f"Blamed though nothing is broken: {', '.join(blamed)}."] if blamed else []
    return lines


def _examples(verdict: Verdict) -> str:
    return f"{verdict.examples} example{'' if verdict.examples == 1 else 's'}"


def _tried(ids: Sequence[str], given: argparse.Namespace) -> list[Verdict]:
    """Try mutants in processes of their own; tell of each as it is done; return them in order."""
    verdicts: dict[str, Verdict] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=given.processes, mp_context=context) as pool:
        options = {"examples": given.examples, "seed": given.seed, "both": given.both}
        running: list[Future[Verdict]] = [pool.submit(try_mutant, one, **options) for one in ids]
        for future in as_completed(running):
            verdict = future.result()
            verdicts[verdict.id] = verdict
            click.echo(line_of(verdict))
    return [verdicts[one] for one in ids]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m treadle.conformance.mutants",
        description="Run the conformance kit against broken brokers; each must be caught.",
    )
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="how many at a time")
    parser.add_argument("--only", action="append", metavar="ID", help="may be given several times")
    parser.add_argument(
        "--examples",
        type=int,
        default=PROFILES["gate"],
        metavar="N",
        help="how many the machine runs at most",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the machine")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there")
    parser.add_argument(
        "--both", action="store_true", help="ask the machine too if a case has caught it"
    )
    return parser
