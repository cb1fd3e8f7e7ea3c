"""`qrun verify`: the conformance kit against any broker that has a URL."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import click

from treadle.broker.url import masked
from treadle.cli.call import Call, command, is_terminal
from treadle.cli.failures import FAILED
from treadle.cli.output import Bar, Output
from treadle.errors import ConfigurationError

if TYPE_CHECKING:
    from treadle.conformance.campaign import Progress
    from treadle.conformance.case import Level
    from treadle.conformance.parts import Part
    from treadle.conformance.report import Report, Row
    from treadle.conformance.subject import Subject

EXAMPLES: Final = 200
TOLD_S: Final = 10.0
LOOK_S: Final = 0.5
SCRIPTS: Final = Path(".treadle/verify")
"""Where programs that fail are saved."""


@command("verify", reads=True)
@click.argument("target", metavar="[URL]", required=False)
@click.option(
    "--examples",
    type=click.IntRange(min=0),
    default=EXAMPLES,
    help="How many generated programs to run; 0 = none.",
)
@click.option(
    "--level",
    type=click.Choice(["core", "flow", "push"]),
    default="push",
    help="Which cases to run; each level holds those before it.",
)
@click.option(
    "--only",
    metavar="ID",
    multiple=True,
    help="Run only this case (C07), or machine, concurrency, faults, leaks; may be repeated.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Chooses what is generated.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Note in this file how far the programs are, and go on behind it the next time.",
)
@click.option(
    "--backend",
    type=click.Choice(["asyncio", "trio"]),
    help="Run on this event loop only.  [default: the cases on each that the broker knows]",
)
@click.option(
    "--differential",
    metavar="URL,URL",
    help="Run each generated program on several brokers and compare what can be observed.",
)
@click.option(
    "--report",
    "report_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the whole report as JSON into this file.",
)
@click.option(
    "--badge",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write JSON from which shields.io draws a badge.",
)
def verify(
    call: Call,
    target: str | None,
    examples: int,
    level: str,
    only: tuple[str, ...],
    seed: int,
    resume: Path | None,
    backend: str | None,
    differential: str | None,
    report_file: Path | None,
    badge: Path | None,
) -> None:
    """Prove that the broker at URL keeps what the protocol promises.

    Runs the named cases, generated programs beside a model, many claimers at once, lost and doubled
    calls, and a search for what stays behind: each in a fresh namespace, erased at its end. No other
    is touched. The same seed gives the same run. Ends with 1 if anything fell short.
    """
    from treadle.conformance.case import Level  # noqa: PLC0415 - the kit is not for --help
    from treadle.conformance.subject import Subject  # noqa: PLC0415

    url = target or call.settings().url
    backends = (backend,) if backend else None
    subjects = [Subject(each, backends=backends) for each in _urls(differential, url)]
    proof = Proof(call.output, Level(level), examples, seed, resume)
    alone = differential is None
    report = proof.of(subjects[0], frozenset(only)) if alone else proof.of_sameness(subjects)
    _show(call.output, report, url if alone else None)
    if report_file is not None:
        report_file.write_bytes(report.json())
    if badge is not None:
        badge.write_bytes(report.badge())
    if not report.passed:
        call.ctx.exit(FAILED)


def _urls(differential: str | None, url: str) -> list[str]:
    if differential is None:
        return [url]
    urls = [each.strip() for each in differential.split(",") if each.strip()]
    if len(urls) < 2:
        raise ConfigurationError("--differential compares brokers: name at least two, URL,URL")
    return urls


class Proof:
    """One run of the kit, told to whoever waits for it."""

    def __init__(
        self, output: Output, level: Level, examples: int, seed: int, resume: Path | None
    ) -> None:
        self._output = output
        self._level = level
        self._examples = examples
        self._seed = seed
        self._resume = resume

    def of(self, subject: Subject, only: frozenset[str]) -> Report:
        """Run everything that was asked for against one broker."""
        from treadle.conformance import parts  # noqa: PLC0415 - the kit is not for --help
        from treadle.conformance.verify import report_on  # noqa: PLC0415

        _refuse_unknown(only)
        backend = _first_backend(subject)
        runs_machine = self._examples > 0 and (not only or parts.MACHINE.id in only)
        if runs_machine:
            parts.insist_on_hypothesis()
        is_there = parts.reach(subject, backend)
        rows = self._cases(subject, only)
        for part in parts.PARTS:
            wanted = part.id in only if only else part is not parts.MACHINE or runs_machine
            if wanted and is_there:
                rows.append(self._part(part, subject, backend))
            elif wanted:
                rows.append(parts.not_run(part, backend))
        return report_on(subject, rows, self._level)

    def of_sameness(self, subjects: Sequence[Subject]) -> Report:
        """Run the same generated programs against several brokers."""
        from treadle.conformance import parts  # noqa: PLC0415 - the kit is not for --help
        from treadle.conformance.report import make_report  # noqa: PLC0415

        parts.insist_on_hypothesis()
        backend = _first_backend(*subjects)
        for subject in subjects:
            parts.reach(subject, backend)
        with self._telling(parts.DIFFERENTIAL.id) as tell:
            row = parts.run_differential(
                subjects,
                self._examples,
                backend=backend,
                seed=self._seed,
                progress=_as_progress(tell),
                resume=self._resume,
                save_in=SCRIPTS,
            )
        names = ", ".join(map(str, subjects))
        return make_report([row], broker=names, capabilities=(), level=self._level)

    def _cases(self, subject: Subject, only: frozenset[str]) -> list[Row]:
        from treadle.conformance.case import cases_of  # noqa: PLC0415 - the kit is not for --help
        from treadle.conformance.verify import run_cases  # noqa: PLC0415

        ids = [each.id for each in cases_of(self._level) if not only or each.id in only]
        backends = subject.installed_backends()
        total = len(ids) * len(backends)
        done = failed = 0
        if not total:
            return []
        with self._telling("cases") as tell:

            def on_row(row: Row) -> None:
                nonlocal done, failed
                done, failed = done + 1, failed + (row.result == "failed")

            async def tell_now_and_then() -> None:
                while True:
                    tell(done, total, f"{failed} failed" if failed else "")
                    await anyio.sleep(LOOK_S)

            async def main() -> list[Row]:
                rows: list[Row] = []
                async with anyio.create_task_group() as group:
                    group.start_soon(tell_now_and_then)
                    rows += await run_cases(
                        subject, self._level, backends=backends, ids=ids, on_row=on_row
                    )
                    group.cancel_scope.cancel()
                return rows

            return anyio.run(main)

    def _part(self, part: Part, subject: Subject, backend: str) -> Row:
        from treadle.conformance import parts  # noqa: PLC0415 - the kit is not for --help

        with self._telling(part.id) as tell:
            if part is parts.CONCURRENCY:
                return parts.run_concurrency(subject, backend, self._seed, tell.seconds)
            if part is parts.FAULTS:
                return parts.run_faults(subject, backend, self._seed, tell.seconds)
            if part is parts.LEAKS:
                return parts.run_leaks(subject, backend, tell.seconds)
            return parts.run_machine(
                subject,
                self._examples,
                backend=backend,
                seed=self._seed,
                progress=_as_progress(tell),
                resume=self._resume,
                save_in=SCRIPTS,
            )

    @contextmanager
    def _telling(self, label: str) -> Generator[Teller]:
        """Say how far a part is: a bar on a terminal, else a line every 10 s."""
        with self._output.progress(label) as bar:
            yield Teller(self._output, bar, label)


class Teller:
    """Says how far one part is."""

    def __init__(self, output: Output, bar: Bar, label: str) -> None:
        self._output = output
        self._bar = bar
        self._label = label
        self._told = time.monotonic()

    def __call__(self, done: int, total: int, note: str) -> None:
        """Say how much is done."""
        self._bar.update(done, total, note)
        now = time.monotonic()
        if now - self._told >= TOLD_S and not is_terminal():
            self._told = now
            self._output.note(f"{self._label}: {done} of {total}{note and f', {note}'}")

    def going_on(self, done: int, total: int) -> None:
        """Say what an earlier run has done already."""
        self._output.note(f"{self._label}: goes on behind {done} of {total} examples")

    def seconds(self, took_s: float) -> None:
        """Say that a part goes on whose end cannot be foreseen."""
        self(0, 1, f"{took_s:.0f} s")


def _as_progress(tell: Teller) -> Callable[[Progress], None]:
    def told(progress: Progress) -> None:
        if progress.is_resuming:
            tell.going_on(progress.examples, progress.of)
        doing = "makes the failing program smaller, " if progress.is_shrinking else ""
        tell(progress.examples, progress.of, f"{doing}{progress.operations} operations")

    return told


def _first_backend(*subjects: Subject) -> str:
    backends = subjects[0].installed_backends()
    if not backends:
        raise ConfigurationError(f"{', '.join(subjects[0].backends)} is not installed")
    return backends[0]


def _refuse_unknown(only: frozenset[str]) -> None:
    from treadle.conformance.case import cases_of  # noqa: PLC0415 - the kit is not for --help
    from treadle.conformance.parts import PARTS  # noqa: PLC0415

    known = {each.id for each in cases_of()} | {part.id for part in PARTS}
    unknown = sorted(only - known)
    if unknown:
        parts = ", ".join(part.id for part in PARTS)
        raise ConfigurationError(
            f"there is no case {', '.join(unknown)}; the cases are listed in the reference, and"
            f" the other parts are {parts}"
        )


def _show(output: Output, report: Report, url: str | None) -> None:
    """Write the report: rows as JSON, or the table of promises and what to do about each failure."""
    if output.as_json:
        output.objects(report.rows)
        output.objects(
            [
                {
                    "kit": report.kit,
                    "broker": report.broker,
                    "capabilities": report.capabilities,
                    "level": report.level,
                    "totals": report.totals,
                    "passed": report.passed,
                }
            ]
        )
        return
    for line in report.table().splitlines():
        output.line(line)
    for row in report.rows:
        if row.result == "failed" and url is not None:
            output.note(
                f"again: qrun verify '{masked(url)}' --only {row.case} --backend {row.backend}"
            )
