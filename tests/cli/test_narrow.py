"""Tables on a terminal of 80 columns: one line a row, ids whole, and a word about what is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from itertools import product

import pytest

from tests.cli.conftest import Qrun
from tests.support.factories import make_job
from treadle.cli.fitting import Layout, Narrow, fit, total
from treadle.cli.pretty import draw
from treadle.cli.workers import COLUMNS, NARROW
from treadle.domain.job import ErrorInfo
from treadle.domain.outcome import Failed

FIRST, SECOND = (f"0198f3a2-7c41-7d2e-9f00-1b2c3d4e5f6{last}" for last in range(2))
RESET = Failed(
    error=ErrorInfo(
        type="smtplib.SMTPServerDisconnected",
        message="Connection unexpectedly closed: [Errno 104] Connection reset by peer",
    ),
    give_up=True,
)

JOBS = f"""\
id                                    type                     state   queue
──────────────────────────────────────────────────────────────────────────────
{SECOND}  email.send               queued  default
{FIRST}  reports.monthly_summary  dead    reports
  given_up: smtplib.SMTPServerDisconnected: Connection unexpectedly closed:
  [Errno 104] Connection reset by peer
No room for: priority, attempt, created. A wider window or --json shows them.
"""
DEAD = f"""\
id                                    type                     state  queue
─────────────────────────────────────────────────────────────────────────────
{FIRST}  reports.monthly_summary  dead   reports
  given_up: smtplib.SMTPServerDisconnected: Connection unexpectedly closed:
  [Errno 104] Connection reset by peer
No room for: priority, attempt, created. A wider window or --json shows them.
"""
QUEUES = """\
queue  waiting  later  blocked  running  succeeded  dead  oldest  state
─
default  1  0  0  0  0  0  N s  paused
reports  0  0  0  0  0  1
"""
WORKERS = """\
name          state  running  opened
──────────────────────────────────────────────────────
build-host-1  alive  0        N
  host=build-host, pid=4123, python=3.11.9, concurrency=200,
  queues=default+reports+mail, handlers=12
"""


def on_terminal(qrun: Qrun, *arguments: str) -> str:
    """Run the command on a terminal of 80 columns; return what it shows, without blank lines."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "treadle", *arguments],
        cwd=qrun.folder,
        env=qrun.environment(TERM="xterm", COLUMNS="80", NO_COLOR="1"),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with closing(os.fdopen(ours, "rb", buffering=0)) as terminal:
        try:
            while part := terminal.read(65_536):
                shown += part
        except OSError:
            pass  # Linux says so when the other end is closed
    process.wait(300)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r\n", "\n")
    return "".join(f"{line.rstrip()}\n" for line in plain.splitlines() if line.strip())


@pytest.fixture
def stocked(qrun: Qrun) -> Qrun:
    """Give a store with a job that waits and one that died with a long error."""
    qrun.enqueue(make_job(id=FIRST, type="reports.monthly_summary", queue="reports"))
    qrun.end(RESET, queue="reports")
    qrun.enqueue(make_job(id=SECOND))
    return qrun


def test_jobs_and_dead_letters_have_a_line_each_and_their_errors_below(stocked: Qrun) -> None:
    assert on_terminal(stocked, "jobs", "list") == JOBS
    assert on_terminal(stocked, "dead", "list") == DEAD


def test_queues_go_without_a_column_that_tells_nothing(stocked: Qrun) -> None:
    stocked("queues", "pause", "default")

    shown = on_terminal(stocked, "queues", "list")

    assert max(map(len, shown.splitlines())) <= 80
    assert re.sub(" {2,}", "  ", re.sub(r"\d+\.\d s", "N s", re.sub("─+", "─", shown))) == QUEUES


def test_workers_have_what_they_say_about_themselves_below(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    about = (
        "host=build-host, pid=4123, python=3.11.9, concurrency=200,"
        " queues=default+reports+mail, handlers=12"
    )

    draw(COLUMNS, [["build-host-1", "alive", "0", "2026-11-22T10:55:59.123Z", about]], "", NARROW)

    assert capsys.readouterr().out.replace("2026-11-22T10:55:59.123Z", "N") == WORKERS


def test_an_id_that_is_longer_than_the_window_stays_in_one_piece(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    row = ["x" * 128, "email.send", "dead", "boom " * 100]
    narrow = Narrow(below=("error",), spare=("state",))

    left_out = draw(("id", "type", "state", "error"), [row], "", narrow)

    first, second, *below = capsys.readouterr().out.splitlines()
    assert first == "x" * 128
    assert second == "  email.send  dead"
    assert [len(line) <= 80 for line in below] == [True] * 3
    assert below[-1].endswith("…")
    assert left_out == ()


@pytest.mark.parametrize("room", range(4, 60, 3))
def test_what_is_kept_fits_and_what_is_left_out_is_named(room: int) -> None:
    columns = ("id", "type", "a", "b", "c", "error")
    narrow = Narrow(below=("error",), spare=("c", "b", "a"))

    for widths in product((2, 9), (3, 12), (4,), (5,), (6,), (90,)):
        for empty in ([False] * 6, [False, False, True, False, False, False]):
            layout = fit(columns, widths, empty, room, narrow)

            assert _complete(layout, empty)
            assert layout.beside[0] == 0
            if layout.fits:
                assert total(widths, layout.beside) <= room
                last = layout.left_out[:1]
                assert not last or total(widths, [*layout.beside, *last]) > room, "it had room"


def _complete(layout: Layout, empty: Sequence[bool]) -> bool:
    told = {*layout.beside, *layout.below, *layout.left_out}
    return {place for place in range(6) if not empty[place]} <= told
