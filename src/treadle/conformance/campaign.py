"""Long runs of the machine: in chunks with seeds of their own, so that they can be resumed.

What a run does follows from its seed alone, so one that goes on inside of a chunk draws the programs
that have passed again, and does not run them. A failing program is made as small as possible, and saved
as a script.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.stateful import run_state_machine_as_test
from msgspec import Struct

from treadle.conformance.machine import machine_for
from treadle.conformance.program import Hung, Op, save
from treadle.conformance.program.reduce import reduced
from treadle.conformance.program.trial import (
    RESTART_LIMIT_S,
    STEP_LIMIT_S,
    Exchange,
    Show,
    try_program,
)
from treadle.conformance.subject import Subject
from treadle.conformance.watch import Bench, Stuck, Work
from treadle.errors import ConfigurationError

PROFILES = {"dev": 50, "nox": 200, "gate": 1_000, "nightly": 20_000}
"""How many examples are run, by occasion."""
STEPS = 12
CHUNK = 250
PROGRESS_S = 10.0
"""How often is told, and noted, how far a run is: more is not lost when it is broken off."""
SHRINK_S = 60.0
_LARGE_PRIME = 1_000_003
_UNCHECKED = (
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.filter_too_much,
    HealthCheck.large_base_example,
)

Try = Callable[[tuple[Op, ...], Show], Work]
"""Prepares the run of a program; each exchange shall be shown while it runs."""


class Progress(Struct, frozen=True, kw_only=True):
    """How far a run is."""

    examples: int
    of: int
    operations: int
    seconds: float
    is_shrinking: bool = False
    is_resuming: bool = False
    """The run is about to begin, behind the examples that an earlier one has passed."""


class Found(Struct, frozen=True, kw_only=True):
    """A program that fails, as small as it could be made."""

    program: tuple[Op, ...]
    error: str
    kind: str
    """The class of the error: Disagreement, Hung, Divergence, or whatever escaped."""
    script: Path | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """How a run ended. `examples` counts those of earlier parts too, if it was resumed."""

    examples: int
    operations: int
    seconds: float
    seed: int
    found: Found | None = None


class _State(Struct):
    """What is kept in the file that a run is resumed from."""

    what: str
    seed: int
    chunk: int
    done: int = 0
    """How many chunks have passed."""
    part: int = 0
    """How many examples of the next one have passed."""
    of: int = 0
    """How many that one has: one of another length has other programs."""

    @property
    def is_full(self) -> bool:
        """Tell whether the next chunk has as many examples as were asked for."""
        return self.part >= self.of

    def begin(self, count: int) -> int:
        """Begin a chunk of so many examples; return how many of it have passed before."""
        if self.of != count:
            self.part, self.of = 0, count
        return self.part

    def finish(self) -> None:
        """Count a chunk that has passed; one that was cut short may become a whole one later."""
        self.part = self.of
        if self.of == self.chunk:
            self.done, self.part, self.of = self.done + 1, 0, 0

    def size(self, examples: int) -> int:
        """Return how many examples the next chunk has, of a run of so many."""
        return min(self.chunk, examples - self.done * self.chunk)

    def passed(self, examples: int) -> int:
        """Return how many examples of a run of so many have passed."""
        part = self.part if self.of == self.size(examples) else 0
        return min(self.done * self.chunk + part, examples)


def run(
    subject: Subject,
    examples: int = PROFILES["dev"],
    seed: int = 0,
    *,
    backend: str = "asyncio",
    progress: Callable[[Progress], object] | None = None,
    resume: Path | None = None,
    save_in: Path | None = None,
    shrink: bool = True,
    steps: int = STEPS,
    step_limit_s: float = STEP_LIMIT_S,
) -> Outcome:
    """Run programs on fresh stores of a subject until one fails, or all have passed.

    `resume` names a file: what has passed is noted there every 10 s and at the end, and a run of
    the same subject and seed goes on behind it.
    """

    def attempt(program: tuple[Op, ...], show: Show) -> Work:
        async def work() -> None:
            await try_program(subject, program, step_limit_s, show)

        return work

    search = Search(attempt, str(subject), backend=backend, step_limit_s=step_limit_s)
    search.progress, search.save_in, search.steps = progress, save_in, steps
    if subject.restart is not None:
        search.silence_s += RESTART_LIMIT_S
    return search.run(examples, seed, resume=resume, shrink=shrink)


class Search:
    """Looks for a program that fails; what "fails" means is up to whoever prepares the runs."""

    def __init__(
        self,
        attempt: Try,
        what: str,
        *,
        backend: str = "asyncio",
        step_limit_s: float = STEP_LIMIT_S,
    ) -> None:
        self.progress: Callable[[Progress], object] | None = None
        self.save_in: Path | None = None
        self.steps = STEPS
        self.silence_s = step_limit_s * 2
        """After so long without an answer the broker keeps its thread."""
        self._attempt = attempt
        self._what = what
        self._backend = backend
        self._step_limit_s = step_limit_s
        self._bench: Bench | None = None
        self._examples = self._operations = self._wanted = 0
        self._began = self._told = time.monotonic()
        self._moved = self._began
        self._found: tuple[tuple[Op, ...], Exception] | None = None
        self._state = _State(what=what, seed=0, chunk=CHUNK)
        self._file: Path | None = None
        self._noted = b""
        self._skip = 0

    def run(self, examples: int, seed: int, *, resume: Path | None, shrink: bool) -> Outcome:
        """Run chunk after chunk, behind what `resume` says has passed."""
        state = self._state = _read_state(resume, self._what, seed)
        self._file, self._wanted, self._examples = resume, examples, state.passed(examples)
        if self._examples and self.progress is not None:
            self.progress(self._so_far(is_resuming=True))
        try:
            while self._passed() and state.passed(examples) < examples:
                self._chunk(seed * _LARGE_PRIME + state.done, state.size(examples))
            self._note()
            if self._found is not None and shrink:
                self._reduce(*self._found)
        finally:
            self._note()
            if self._bench is not None:
                self._bench.end()
        return Outcome(
            examples=self._examples,
            operations=self._operations,
            seconds=time.monotonic() - self._began,
            seed=seed,
            found=None if self._found is None else self._saved(*self._found),
        )

    def _passed(self) -> bool:
        return self._found is None

    def _chunk(self, seed: int, count: int) -> None:
        profile = settings(
            max_examples=count,
            stateful_step_count=self.steps,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            verbosity=Verbosity.quiet,
            report_multiple_bugs=False,
            suppress_health_check=_UNCHECKED,
        )
        self._skip = self._state.begin(count)
        try:
            run_state_machine_as_test(machine_for(self._play, seed), settings=profile)
        except Exception:
            if self._found is None:
                raise
        else:
            self._state.finish()

    def _play(self, program: tuple[Op, ...]) -> None:
        """Run one program, and remember it if it fails."""
        if self._found is not None:
            raise self._found[1]  # Hypothesis wants to see it again
        if self._skip:
            self._skip -= 1
            return
        if self._state.is_full:
            return  # Hypothesis draws a few more than it counts
        self._examples += 1
        error = self._run(program)
        if error is not None:
            self._found = (program, error)
            raise error
        self._state.part += 1
        self._tell()

    def _reduce(self, program: tuple[Op, ...], error: Exception) -> None:
        """Make the failing program smaller, for a while; one that hangs is left as it is."""
        if isinstance(error, Hung):
            return
        until = time.monotonic() + SHRINK_S

        def fails(smaller: tuple[Op, ...]) -> bool:
            if time.monotonic() > until:
                return False
            found = self._run(smaller)
            self._tell()
            if found is None or type(found) is not type(error):
                return False
            self._found = (smaller, found)
            return True

        reduced(program, fails)

    def _run(self, program: tuple[Op, ...]) -> Exception | None:
        if self._bench is None:
            self._bench = Bench(self._backend)
        self._operations += len(program)
        self._moved = time.monotonic()
        try:
            error = self._bench.run(self._attempt(program, self._move), self._is_late)
        except Stuck:
            self._bench = None  # its thread is lost
            return Hung(f"the broker keeps its thread for more than {self._step_limit_s:g} s")
        if error is None or isinstance(error, Exception):
            return error
        return AssertionError(f"{error!r} escaped from the broker")

    def _move(self, exchange: Exchange) -> None:
        del exchange
        self._moved = time.monotonic()

    def _is_late(self) -> bool:
        self._tell()
        return time.monotonic() - self._moved > self.silence_s

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told < PROGRESS_S:
            return
        self._told = now
        self._note()
        if self.progress is not None:
            self.progress(self._so_far())

    def _so_far(self, *, is_resuming: bool = False) -> Progress:
        return Progress(
            examples=self._examples,
            of=self._wanted,
            operations=self._operations,
            seconds=time.monotonic() - self._began,
            is_shrinking=self._found is not None,
            is_resuming=is_resuming,
        )

    def _note(self) -> None:
        """Note in the file how far the run is; a kill leaves what was noted before."""
        noted = msgspec.json.encode(self._state)
        if self._file is None or noted == self._noted:
            return
        new = self._file.with_name(f"{self._file.name}.new")
        new.write_bytes(noted)
        new.replace(self._file)
        self._noted = noted

    def _saved(self, program: tuple[Op, ...], error: Exception) -> Found:
        text = "\n".join([str(error), *getattr(error, "__notes__", ())])
        script = None if self.save_in is None else save(self.save_in, program, text)
        return Found(program=program, error=text, kind=type(error).__name__, script=script)


def _read_state(path: Path | None, what: str, seed: int) -> _State:
    fresh = _State(what=what, seed=seed, chunk=CHUNK)
    if path is None or not path.exists():
        return fresh
    try:
        state = msgspec.json.decode(path.read_bytes(), type=_State)
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{path} is no file that a run can be resumed from") from error
    if (state.what, state.seed) != (what, seed):
        raise ConfigurationError(
            f"{path} belongs to another run ({state.what}, seed {state.seed}): name another file"
        )
    return state
