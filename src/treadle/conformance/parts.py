"""The parts of a whole proof besides the cases, each as a row of the report.

Whatever a broker does, each part ends in bounded time: what can be cancelled is cancelled, what
blocks its event loop is left behind in a thread that keeps no process alive.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import anyio
from msgspec import Struct

from treadle.conformance import concurrency, leaks, troubles
from treadle.conformance.case import Level
from treadle.conformance.explain import explain, innermost
from treadle.conformance.report import Result, Row
from treadle.conformance.subject import Subject
from treadle.conformance.watch import Bench, Stuck
from treadle.errors import (
    BrokerRefused,
    BrokerUnavailable,
    ConfigurationError,
    PluginError,
)

if TYPE_CHECKING:
    from treadle.conformance.campaign import Outcome, Progress

LIMIT_S: Final = 360.0
"""How long a part may take, unless its length was asked for."""
REACH_S: Final = 15.0
_GRACE_S: Final = 15.0
_MACHINE_NEEDS: Final = ("hypothesis",)
INSTALL: Final = 'pip install "treadle[conformance]"'


class Part(Struct, frozen=True, kw_only=True):
    """What stands in the report for a part."""

    id: str
    title: str
    promises: tuple[int, ...]

    def row(self, result: Result, detail: str, backend: str, took_s: float) -> Row:
        """Make the row of what was found."""
        return Row(
            case=self.id,
            title=self.title,
            promises=self.promises,
            level=Level.CORE,
            result=result,
            detail=detail,
            backend=backend,
            took_ms=round(took_s * 1_000),
        )


MACHINE: Final = Part(
    id="machine",
    title="every answer to generated programs is one that the model allows",
    promises=(1, 3, 4, 15),
)
CONCURRENCY: Final = Part(
    id="concurrency",
    title="many claimers at once: no job twice, none lost",
    promises=(1, 4),
)
FAULTS: Final = Part(
    id="faults",
    title="lost, late and doubled calls: no job lost, none ends twice",
    promises=(1, 3, 4, 9),
)
LEAKS: Final = Part(
    id="leaks",
    title="after the last retention the store holds only what it must",
    promises=(12,),
)
DIFFERENTIAL: Final = Part(
    id="differential",
    title="the brokers answer generated programs alike",
    promises=(),
)
PARTS: Final = (CONCURRENCY, FAULTS, LEAKS, MACHINE)


class _Found(Protocol):
    @property
    def passed(self) -> bool: ...


def reach(subject: Subject, backend: str) -> bool:
    """Make a fresh store and erase it again; tell whether that came to an end.

    Raises:
        BrokerUnavailable, BrokerRefused, ConfigurationError, PluginError: if that is what it says;
            anything else is left to the cases, which make rows of it.
    """
    ended: list[bool] = []

    async def work() -> None:
        with anyio.move_on_after(REACH_S):
            async with subject.place():
                pass
            ended.append(True)

    error = _bounded(work, backend, REACH_S + _GRACE_S)
    reason = None if error is None else innermost(error)
    if isinstance(reason, BrokerUnavailable | BrokerRefused | ConfigurationError | PluginError):
        raise reason
    return bool(ended) or not (error is None or isinstance(reason, TimeoutError))


def not_run(part: Part, backend: str) -> Row:
    """Make the row of a part that was not run because the broker did not even connect."""
    detail = f"not run: the broker did not connect and disconnect within {REACH_S:g} s"
    return part.row(Result.FAILED, detail, backend, 0.0)


Tick = Callable[[float], object]
"""Is told now and then how many seconds a part has taken."""


def run_concurrency(subject: Subject, backend: str, seed: int, tick: Tick | None = None) -> Row:
    """Let claimers race on real processes, or on threads where the store is in this process."""
    return _judged(CONCURRENCY, backend, lambda: concurrency.run(subject, seed=seed + 1), tick)


def run_faults(subject: Subject, backend: str, seed: int, tick: Tick | None = None) -> Row:
    """Let workers work on bad ways."""
    seeds: Sequence[int] = range(seed * 10, seed * 10 + 10)
    return _judged(FAULTS, backend, lambda: troubles.run(subject, seeds), tick)


def run_leaks(subject: Subject, backend: str, tick: Tick | None = None) -> Row:
    """Let jobs come and go, and look at what stays."""
    return _judged(LEAKS, backend, lambda: leaks.run(subject), tick)


def run_machine(
    subject: Subject,
    examples: int,
    *,
    backend: str,
    seed: int = 0,
    progress: Callable[[Progress], object] | None = None,
    resume: Path | None = None,
    save_in: Path | None = None,
) -> Row:
    """Run generated programs, and compare each answer with the model.

    Raises:
        PluginError: if Hypothesis, which draws the programs, is not installed.
        ConfigurationError: if `resume` names the file of another run.
    """
    insist_on_hypothesis()
    from treadle.conformance import campaign  # noqa: PLC0415 - needs the extra

    return _searched(
        MACHINE,
        backend,
        lambda: campaign.run(
            subject,
            examples,
            seed,
            backend=backend,
            progress=progress,
            resume=resume,
            save_in=save_in,
        ),
    )


def run_differential(
    subjects: Sequence[Subject],
    examples: int,
    *,
    backend: str,
    seed: int = 0,
    progress: Callable[[Progress], object] | None = None,
    resume: Path | None = None,
    save_in: Path | None = None,
) -> Row:
    """Run generated programs on several brokers, and compare what can be observed.

    Raises:
        PluginError, ConfigurationError: as in `run_machine`.
    """
    insist_on_hypothesis()
    from treadle.conformance import differential  # noqa: PLC0415 - needs the extra

    return _searched(
        DIFFERENTIAL,
        backend,
        lambda: differential.compare(
            subjects,
            examples,
            seed,
            backend=backend,
            progress=progress,
            resume=resume,
            save_in=save_in,
        ),
    )


def insist_on_hypothesis() -> None:
    """Say how to install what generated programs need.

    Raises:
        PluginError: if it is not there.
    """
    for name in _MACHINE_NEEDS:
        try:
            __import__(name)
        except ImportError as error:
            raise PluginError(
                f"generated programs need {name}, which is not installed. Install it with:"
                f" {INSTALL}, or run without them: --examples 0"
            ) from error


def _judged(
    part: Part, backend: str, run: Callable[[], Awaitable[_Found]], tick: Tick | None
) -> Row:
    """Run a part to its end, or to the end of its time."""
    found: list[_Found] = []

    async def work() -> None:
        with anyio.fail_after(LIMIT_S):
            found.append(await run())

    began = time.monotonic()
    error = _bounded(work, backend, LIMIT_S + _GRACE_S, tick)
    took_s = time.monotonic() - began
    if error is not None:
        return part.row(Result.FAILED, explain(error), backend, took_s)
    result = Result.PASSED if found[0].passed else Result.FAILED
    return part.row(result, str(found[0]), backend, took_s)


def _searched(part: Part, backend: str, run: Callable[[], Outcome]) -> Row:
    """Run a search for a failing program."""
    began = time.monotonic()
    try:
        outcome = run()
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - a broker may raise anything
        return part.row(Result.FAILED, explain(error), backend, time.monotonic() - began)
    told = f"{outcome.examples} examples, {outcome.operations} operations, seed {outcome.seed}"
    if outcome.found is None:
        return part.row(Result.PASSED, told, backend, outcome.seconds)
    found = outcome.found
    script = "" if found.script is None else f"\nreplay: python {found.script} URL"
    detail = f"{found.kind} after {told}\n{found.error}{script}"
    return part.row(Result.FAILED, detail, backend, outcome.seconds)


def _bounded(
    work: Callable[[], Awaitable[None]], backend: str, limit_s: float, tick: Tick | None = None
) -> BaseException | None:
    """Run work on a thread that may be left behind; return what it raised."""
    began = time.monotonic()
    bench = Bench(backend)

    def is_late() -> bool:
        took_s = time.monotonic() - began
        if tick is not None:
            tick(took_s)
        return took_s > limit_s

    try:
        error = bench.run(work, is_late)
    except Stuck:
        return TimeoutError(f"the broker blocks its event loop for more than {limit_s:g} s")
    bench.end()
    return error
