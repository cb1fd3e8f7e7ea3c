"""The machine finds what is wrong with a broker, makes it small, and can be resumed."""

# ruff: noqa: ARG002 - what a broken broker is asked makes no difference to it

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec import structs

from treadle.broker.base import Claimed, Clock, Enqueued, Pulse, Settled, Stats
from treadle.broker.memory import MemoryBroker
from treadle.broker.url import BrokerUrl
from treadle.conformance import Subject
from treadle.conformance.campaign import run
from treadle.conformance.program import (
    Claim,
    Elapse,
    Enqueue,
    How,
    LimitKey,
    NewJob,
    Op,
    Scan,
    Settle,
    main,
    script,
    source,
    try_program,
)
from treadle.conformance.program.reduce import reduced
from treadle.domain.outcome import Write

EXAMPLES = 60


def subject_of(kind: type[MemoryBroker], *, movable: bool | None = True) -> Subject:
    """Return a broken broker as a subject."""

    def make(url: BrokerUrl, clock: Clock) -> MemoryBroker:
        return kind(url, clock)

    return Subject("memory://", make=make, movable=movable)


# -- good brokers


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_memory_broker_does_as_it_must(backend: str) -> None:
    outcome = run(Subject("memory://"), EXAMPLES, seed=1, backend=backend)

    assert outcome.found is None, script(outcome.found.program, outcome.found.error)
    assert outcome.examples >= EXAMPLES


def test_the_sqlite_broker_does_as_it_must(tmp_path: Path) -> None:
    outcome = run(Subject(f"sqlite:///{tmp_path}/jobs.db"), EXAMPLES // 2, seed=2)

    assert outcome.found is None, script(outcome.found.program, outcome.found.error)


def test_a_broker_whose_time_runs_is_judged_in_windows() -> None:
    outcome = run(subject_of(MemoryBroker, movable=False), 8, seed=3)

    assert outcome.found is None, script(outcome.found.program, outcome.found.error)


# -- broken brokers


class Backwards(MemoryBroker):
    """Claims in the wrong order."""

    async def claim(self, *args: Any, **options: Any) -> Claimed:
        claimed = await super().claim(*args, **options)
        return structs.replace(claimed, records=list(claimed.records)[::-1])


class Careless(MemoryBroker):
    """Does not know what a session holds without knowing it."""

    async def heartbeat(self, *args: Any, **options: Any) -> Pulse:
        return structs.replace(await super().heartbeat(*args, **options), orphans=())


class Drifting(MemoryBroker):
    """Counts one job too many once something is dead."""

    async def stats(self) -> Stats:
        stats = await super().stats()
        queues = [structs.replace(q, waiting=q.waiting + (q.dead > 0)) for q in stats.queues]
        return structs.replace(stats, queues=tuple(queues))


class Forgetful(MemoryBroker):
    """Acknowledges a batch of writes, of which it applies the first."""

    async def apply(self, writes: Sequence[Write]) -> Settled:
        settled = await super().apply(writes[:1])
        return structs.replace(settled, results=list(settled.results) * len(writes))


class Escaping(MemoryBroker):
    """Lets an error of its own escape."""

    async def enqueue(self, *args: Any, **options: Any) -> Enqueued:
        raise ValueError("unexpected token")


class Leaving(MemoryBroker):
    """Tries to end the process."""

    async def enqueue(self, *args: Any, **options: Any) -> Enqueued:
        raise SystemExit(3)


class Babbling(MemoryBroker):
    """Answers what nobody asked."""

    async def enqueue(self, *args: Any, **options: Any) -> Any:
        return "stored"


@pytest.mark.parametrize(
    "kind", [Backwards, Careless, Drifting, Forgetful, Escaping, Leaving, Babbling]
)
def test_a_broken_broker_is_caught(kind: type[MemoryBroker]) -> None:
    outcome = run(subject_of(kind), 1_000, seed=4, shrink=False)

    assert outcome.found is not None


def test_a_broken_broker_is_caught_where_time_runs() -> None:
    outcome = run(subject_of(Backwards, movable=False), 50, seed=5, shrink=False)

    assert outcome.found is not None


class Hanging(MemoryBroker):
    """Never answers a claim."""

    async def claim(self, *args: Any, **options: Any) -> Claimed:
        await anyio.sleep_forever()
        raise AssertionError


class Stubborn(MemoryBroker):
    """Never answers a claim, and does not let itself be cancelled."""

    gate = threading.Event()

    async def claim(self, *args: Any, **options: Any) -> Claimed:
        self.gate.wait()
        raise OSError("the gate was opened")


@pytest.mark.parametrize("kind", [Hanging, Stubborn])
def test_a_broker_that_hangs_is_a_failing_example(kind: type[MemoryBroker]) -> None:
    Stubborn.gate.clear()
    try:
        outcome = run(subject_of(kind), 50, seed=6, step_limit_s=1)
    finally:
        Stubborn.gate.set()  # lets the thread go that was given up

    assert outcome.found is not None
    assert outcome.found.kind == "Hung"


# -- what is found


def test_a_failing_program_is_made_small_and_saved_as_a_script(tmp_path: Path) -> None:
    outcome = run(subject_of(Backwards), 500, seed=7, save_in=tmp_path)

    found = outcome.found
    assert found is not None
    assert [type(op) for op in found.program] == [Enqueue, Claim]
    assert found.script is not None
    text = found.script.read_text()
    assert "Enqueue((" in text
    assert "protocol: Order" in text


def test_a_saved_program_can_be_played_on_any_broker(tmp_path: Path) -> None:
    program: tuple[Op, ...] = (
        Enqueue((NewJob(id="a", key="slot"), NewJob(id="b", after=("one/a",)))),
        LimitKey("slot", 1),
        Claim(worker="ada"),
        Settle(worker="ada", ends=((0, How.SUCCEED),)),
    )
    file = tmp_path / "program.py"
    file.write_text(script(program, 'found "it"\\here'))

    urls = ["memory://", f"sqlite:///{tmp_path}/jobs.db"]
    played = subprocess.run(
        [sys.executable, str(file), *urls], capture_output=True, text=True, check=False, timeout=240
    )

    assert played.returncode == 0, played.stderr
    assert "Enqueued(" in played.stdout


def test_the_source_of_a_program_makes_the_same_program() -> None:
    import treadle.conformance.program as names

    program: tuple[Op, ...] = (
        Enqueue((NewJob(id="a", delay=2, after=("one/b", "two/c")),)),
        LimitKey("slot", None),
        Settle(worker="ada", ends=((0, How.FAIL), (1, How.PARK)), late=True),
        Elapse(3),
        Scan(),
    )

    assert eval(source(program), dict(vars(names))) == program  # noqa: S307 # it is our own text


def test_a_program_says_on_the_command_line_how_it_went(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main((Enqueue((NewJob(id="a"),)),), ["memory://", "--quiet"])

    assert capsys.readouterr().out == "the broker did as it must, 1 operations\n"


def test_a_program_is_reduced_to_what_fails() -> None:
    needed = NewJob(id="b", key="slot")
    program: tuple[Op, ...] = (
        Scan(),
        Enqueue((NewJob(id="a", delay=1), NewJob(id="b", key="slot", delay=3))),
        Elapse(5),
        Claim(worker="ada", queues=("two",), limit=7),
        Scan(),
    )

    def fails(tried: tuple[Op, ...]) -> bool:
        jobs = [job for op in tried if isinstance(op, Enqueue) for job in op.jobs]
        return any(job.id == "b" and job.key for job in jobs) and Elapse(5) in tried

    assert reduced(program, fails) == (Enqueue((needed,)), Elapse(5))


@pytest.mark.anyio
async def test_an_operation_that_names_nothing_is_skipped() -> None:
    nothing = (Settle(worker="ada", ends=((0, How.SUCCEED),)), Claim(worker="ada"))

    exchanges = await try_program(Subject("memory://"), nothing)

    assert [type(one.call).__name__ for one in exchanges][:2] == ["Open", "Claim"]
