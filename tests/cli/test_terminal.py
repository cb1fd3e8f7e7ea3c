"""What a person sees: tables, colour and progress on a terminal, and only there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing

from tests.cli.conftest import GIVEN_UP, Qrun
from tests.support.factories import make_job
from treadle.domain.job import ErrorInfo
from treadle.domain.outcome import Failed

GATED_APP = '''
from pathlib import Path

import anyio

from treadle import Context, Jobs

jobs = Jobs()


@jobs.handler("slow", retry=0)
async def slow(ctx: Context) -> str:
    """Say how far it is, and end when somebody has seen that."""
    ctx.progress(1, 2, "half")
    while not Path("seen").exists():
        await anyio.sleep(0.05)
    return "done"
'''
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def _on_terminal(
    qrun: Qrun,
    *arguments: str,
    see: Callable[[bytes], object] = bytes.strip,
    **environment: str,
) -> str:
    """Run the command with a terminal as stdout and stderr; return what it shows.

    `see` is called with all that was shown so far, whenever there is more.
    """
    ours, theirs = os.openpty()
    environment = {"TERM": "xterm-256color", "COLUMNS": "120", **environment}
    process = subprocess.Popen(
        [sys.executable, "-m", "treadle", *arguments],
        cwd=qrun.folder,
        env=qrun.environment(**environment),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with closing(os.fdopen(ours, "rb", buffering=0)) as terminal:
        while True:
            try:
                part = terminal.read(65_536)
            except OSError:  # Linux says so when the other end is closed
                break
            if not part:
                break
            shown += part
            see(shown)
    process.wait(300)
    return shown.decode()


def test_a_terminal_gets_a_table_in_colour_and_a_pipe_plain_columns(qrun: Qrun) -> None:
    qrun.enqueue(make_job(id="a"))
    qrun.end(GIVEN_UP)

    drawn = _on_terminal(qrun, "jobs", "list")
    plain = qrun("jobs", "list").out

    assert "───" in drawn
    assert _COLOUR.search(drawn)
    assert plain.splitlines()[0].startswith("ID ")
    assert "\x1b" not in plain


def test_a_drawn_table_leaves_out_columns_without_a_value(qrun: Qrun) -> None:
    qrun.enqueue(make_job(id="a"))

    drawn = _on_terminal(qrun, "jobs", "list", NO_COLOR="1")
    plain = qrun("jobs", "list").out

    assert "created" in drawn
    assert "reason" not in drawn
    assert "REASON" in plain, "what programs read stays the same"


def test_no_color_is_respected(qrun: Qrun) -> None:
    qrun.enqueue(make_job(id="a"))
    qrun.end(GIVEN_UP)

    listed = _on_terminal(qrun, "jobs", "list", NO_COLOR="1")
    failed = _on_terminal(qrun, "jobs", "show", "nope", NO_COLOR="1")

    coloured = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m")
    assert not coloured.search(listed)
    assert not coloured.search(failed)
    assert "\x1b[31m" in _on_terminal(qrun, "jobs", "show", "nope")


def test_markup_in_what_a_job_brings_has_no_meaning(qrun: Qrun) -> None:
    error = ErrorInfo(type="E", message="[red]x[/red]")
    qrun.enqueue(make_job(id="a"))
    qrun.end(Failed(error=error, give_up=True))

    shown = _on_terminal(qrun, "jobs", "list", NO_COLOR="1")

    assert "[red]x[/red]" in shown


def test_waiting_shows_how_far_the_handlers_say_they_are(qrun: Qrun) -> None:
    qrun.write("jobs.py", GATED_APP)
    qrun.enqueue(make_job(id="slow-one", type="slow"))
    worker = qrun.start("worker", "--burst", "--quiet")

    def see(shown: bytes) -> None:
        if b"half" in shown:
            (qrun.folder / "seen").touch()

    shown = _on_terminal(qrun, "wait", "slow-one", "--timeout", "240", see=see)
    worker.communicate(timeout=300)

    assert "half" in shown
    assert "1/2" in shown
    assert "slow-one  succeeded" in shown


def test_quiet_shows_no_progress_even_on_a_terminal(qrun: Qrun) -> None:
    qrun.write("lines.jsonl", '{"type":"x"}\n' * 10)

    loud = _on_terminal(qrun, "enqueue", "--file", "lines.jsonl")
    quiet = _on_terminal(qrun, "enqueue", "--file", "lines.jsonl", "--quiet")

    assert "━" in loud
    assert quiet.strip() == "enqueued 10"
