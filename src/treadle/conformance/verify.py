"""Run the cases of a level against a broker: all that `qrun verify` and programs need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import anyio
import anyio.to_thread

from treadle.conformance.case import Case, Level, cases_of
from treadle.conformance.clock import MovableClock
from treadle.conformance.report import Report, Row, make_report
from treadle.conformance.run import Finished, Patience, run_case
from treadle.conformance.subject import Subject

AT_ONCE = 8
"""How many cases wait side by side, where they really have to wait."""
HEAVY_MS = 60_000
"""A case with such a limit keeps the machine busy: it runs alone."""

OnRow = Callable[[Row], None]


async def run_cases(
    subject: Subject,
    level: Level | str = Level.PUSH,
    *,
    backends: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    limit_s: float | None = None,
    on_row: OnRow | None = None,
) -> list[Row]:
    """Run cases on each event loop that is there; return a row for each, whatever the broker does.

    `ids` chooses cases; `limit_s` replaces the time limit of each; `on_row` is told of each row
    as it comes. Cases run one after the other, or several at once where they really have to wait.
    """
    chosen = [case for case in cases_of(level) if ids is None or case.id in ids]
    rows: list[Row] = []
    for backend in subject.installed_backends() if backends is None else backends:
        run = _Run(subject, backend, Patience(limit_s), on_row)
        rows += await run.all(chosen)
    return rows


class _Run:
    """The cases on one event loop."""

    def __init__(
        self, subject: Subject, backend: str, patience: Patience, on_row: OnRow | None
    ) -> None:
        self._subject = subject
        self._backend = backend
        self._patience = patience
        self._on_row = on_row
        self._rows: dict[str, Row] = {}

    async def all(self, chosen: Sequence[Case]) -> list[Row]:
        if not chosen:
            return []
        # The first case tells whether the others have to wait.
        first = min(chosen, key=lambda case: (case.limit_ms, case.id))
        movable = (await self._one(first)).movable
        rest = [case for case in chosen if case is not first]
        alone = [case for case in rest if movable or case.limit_ms >= HEAVY_MS]
        for case in alone:
            await self._one(case)
        limiter = anyio.CapacityLimiter(AT_ONCE)
        async with anyio.create_task_group() as group:
            for case in rest:
                if case not in alone:
                    group.start_soon(self._one, case, limiter)
        return [self._rows[case.id] for case in chosen]

    async def _one(self, case: Case, limiter: anyio.CapacityLimiter | None = None) -> Finished:
        run = partial(run_case, self._subject, case, self._backend, self._patience)
        finished = await anyio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=limiter)
        self._rows[case.id] = finished.row
        if self._on_row is not None:
            self._on_row(finished.row)
        return finished


def report_on(subject: Subject, rows: Sequence[Row], level: Level | str) -> Report:
    """Make the report of rows about a broker."""
    try:
        made = subject.make(subject.url, MovableClock())
        capabilities = [str(each) for each in made.capabilities]
    except Exception:  # noqa: BLE001 - the rows say what is wrong with the broker
        capabilities = []
    return make_report(rows, broker=str(subject), capabilities=capabilities, level=level)
