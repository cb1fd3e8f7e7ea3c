"""The supervisor and real child processes: restarts, hopeless ends, hanging children."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from treadle.runtime.clock import SystemClock
from treadle.runtime.supervisor import Supervisor, take_parent

pytestmark = pytest.mark.timeout(60)

WAIT = "import time; time.sleep(60)"
DEAF = (
    "import signal, pathlib, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "pathlib.Path(sys.argv[1]).write_text('deaf'); time.sleep(60)"
)
COUNTS = """
import signal, sys, time
seen = []
signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
open(sys.argv[1], "w").close()
while not seen:
    time.sleep(0.02)
time.sleep(1)
raise SystemExit(10 + len(seen))
"""
HOPELESS_WHEN_STOPPED = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
open(sys.argv[1], "w").close()
signal.pause()
"""
FIRST = """
import sys
for name in sys.argv[1:]:
    open(name).read()
raise SystemExit(3)
"""


class HurriedClock(SystemClock):
    """A clock on which time can pass at once."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return super().monotonic() + self.passed


class Told(logging.Handler):
    """Keeps what the supervisor says; `heard(n)` waits for the n-th time."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self._message = message
        self._counted = threading.Semaphore(0)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        if record.getMessage() == self._message:
            self.records.append(record)
            self._counted.release()

    def heard(self, count: int) -> None:
        """Wait until it was said `count` times more."""
        for _ in range(count):
            assert self._counted.acquire(timeout=30)


@contextmanager
def told(message: str) -> Generator[Told]:
    """Listen to the supervisor."""
    listener, source = Told(message), logging.getLogger("treadle.supervisor")
    source.addHandler(listener)
    yield listener
    source.removeHandler(listener)


def _make(clock: HurriedClock, programs: Sequence[tuple[str, ...]], grace_ms: int) -> Supervisor:
    commands = {str(n): (sys.executable, "-c", *program) for n, program in enumerate(programs)}
    return Supervisor(
        lambda name: commands[name],
        list(commands),
        clock=clock,
        rng=random.Random(1),
        grace_ms=grace_ms,
    )


class Running:
    """A supervisor in a thread, and what it returns."""

    def __init__(self, *programs: tuple[str, ...], grace_ms: int = 600_000) -> None:
        self.clock = HurriedClock()
        self.supervisor = _make(self.clock, programs, grace_ms)
        self.codes: list[int] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.codes.append(self.supervisor.run())

    def ended(self) -> int:
        """Wait until it has ended and return its exit code."""
        self._thread.join(30)
        assert not self._thread.is_alive(), "the supervisor goes on"
        return self.codes[0]

    def is_running(self) -> bool:
        """Tell whether it goes on after it had time to look."""
        self._thread.join(0.3)
        return self._thread.is_alive()


def test_a_hopeless_child_ends_the_others_too() -> None:
    running = Running((WAIT,), ("raise SystemExit(3)",))

    assert running.ended() == 3


@pytest.mark.promise(8)
def test_children_that_find_it_hopeless_one_after_the_other_hurry_nobody(tmp_path: Path) -> None:
    counts, second = tmp_path / "counts", tmp_path / "second"
    os.mkfifo(counts)
    os.mkfifo(second)

    running = Running(
        (COUNTS, str(counts)),
        (HOPELESS_WHEN_STOPPED, str(second)),
        (FIRST, str(counts), str(second)),
    )

    assert running.ended() == 10 + 1, "a second SIGTERM would end the grace period"


@pytest.mark.promise(8)
@pytest.mark.parametrize("ends", ["", "import sys; signal.signal(15, lambda *_: sys.exit(130));"])
def test_a_child_that_was_stopped_before_it_had_begun_ends_as_one_that_drained(
    tmp_path: Path, ends: str
) -> None:
    begins = tmp_path / "begins"
    os.mkfifo(begins)
    program = f"import signal; {ends} open({str(begins)!r}, 'w').close(); signal.pause()"

    running = Running((program,))
    begins.read_text()  # it is there
    running.supervisor.stop()

    assert running.ended() == 0


@pytest.mark.promise(8)
def test_a_key_pressed_on_the_terminal_reaches_children_through_the_supervisor_only() -> None:
    running = Running(("import os; raise SystemExit(3 * (os.getsid(0) != os.getpid()))",))

    assert running.ended() == 0


def test_children_that_end_well_are_not_started_again() -> None:
    running = Running(("",), ("",))

    assert running.ended() == 0
    assert [child.restarts for child in running.supervisor.children] == [0, 0]


def test_a_child_that_keeps_dying_young_is_started_later_each_time() -> None:
    with told("child_restarted") as restarts:
        running = Running(("raise SystemExit(1)",))
        for _ in range(6):
            restarts.heard(1)
            running.clock.passed += 9.9  # still young, and whatever the delay: over
        running.supervisor.stop()
        running.ended()

    delays = [vars(record)["delay_ms"] for record in restarts.records][:5]
    assert delays[0] == 0, "the first death costs no time"
    assert 0 < delays[1] < delays[3]
    assert max(delays) <= 10_000
    assert vars(restarts.records[0])["died"] == "exit code 1"


def test_a_child_that_cannot_be_started_now_is_started_later(tmp_path: Path) -> None:
    program = tmp_path / "replaced"
    with told("child_restarted") as restarts:
        clock = HurriedClock()
        supervisor = Supervisor(lambda _: [str(program)], ["0"], clock=clock, rng=random.Random(1))
        running = threading.Thread(target=supervisor.run, daemon=True)
        running.start()
        restarts.heard(2)
        program.symlink_to("/bin/true")
        clock.passed += 11
        running.join(30)

    assert not running.is_alive()
    assert "No such file" in vars(restarts.records[0])["died"]


def test_a_child_killed_by_a_signal_without_a_name_is_started_again() -> None:
    kill = f"import os; os.kill(os.getpid(), {signal.SIGRTMIN + 1})"
    with told("child_restarted") as restarts:
        running = Running((kill,))
        restarts.heard(1)
        running.supervisor.stop()
        running.ended()

    assert vars(restarts.records[0])["died"] == f"signal {signal.SIGRTMIN + 1}"


def test_a_stop_does_not_wait_for_a_child_that_would_be_started_again_later() -> None:
    with told("child_restarted") as restarts:
        running = Running(("raise SystemExit(1)",))
        restarts.heard(2)  # the second death in a row: now it waits
        running.clock.passed -= 3_600
        running.supervisor.stop()

        assert running.ended() == 0


@pytest.mark.promise(8)
def test_a_child_that_hangs_is_killed_two_seconds_after_the_grace_period(tmp_path: Path) -> None:
    mark = tmp_path / "deaf"
    os.mkfifo(mark)
    with told("child_killed") as kills:
        running = Running((DEAF, str(mark)), grace_ms=60_000)
        _wait_for(mark)
        running.supervisor.stop()
        assert running.is_running()
        running.clock.passed += 60
        assert running.is_running(), "the grace period is over, but not the two seconds after it"
        running.clock.passed += 2

        assert running.ended() == 128 + signal.SIGKILL
    assert len(kills.records) == 1


@pytest.mark.promise(8)
def test_a_second_stop_leaves_a_hanging_child_two_seconds(tmp_path: Path) -> None:
    mark = tmp_path / "deaf"
    os.mkfifo(mark)
    running = Running((DEAF, str(mark)), grace_ms=600_000)
    _wait_for(mark)
    running.supervisor.stop()
    assert running.is_running()
    running.supervisor.stop()
    assert running.is_running()
    running.clock.passed += 2

    assert running.ended() == 128 + signal.SIGKILL


def test_a_child_learns_once_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_SUPERVISOR", "7")

    assert [take_parent(), take_parent()] == [7, 0]


def test_no_child_outlives_a_supervisor_that_fails() -> None:
    class Broken(HurriedClock):
        """A clock that breaks when a child has been started."""

        def monotonic(self) -> float:
            if supervisor.children[0].process is not None:
                raise RuntimeError("broken")
            return super().monotonic()

    supervisor = _make(Broken(), [(WAIT,)], 1_000)

    with pytest.raises(RuntimeError, match="broken"):
        supervisor.run()

    process = supervisor.children[0].process
    assert process is not None
    assert process.wait(20) == -signal.SIGTERM


def _wait_for(mark: Path) -> None:
    """Wait until a child writes to its pipe."""
    assert mark.read_text() == "deaf"
