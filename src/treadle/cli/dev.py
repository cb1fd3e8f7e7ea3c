"""`qrun dev`: a worker that starts anew when the code changes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType

import click

from treadle.cli.call import Call, command

_STOP_S = 10.0


@command("dev")
@click.argument("app", metavar="[APP]", required=False)
@click.option("--queues", metavar="A,B", help="Serve these queues, strictly in this order.")
@click.option("--concurrency", type=int, metavar="N", help="How many jobs run at a time.")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warn or error.")
@click.option(
    "--reload-dir",
    "reload_dir",
    multiple=True,
    type=click.Path(exists=True, file_okay=False),
    help="Watch this folder instead of the current one; may be given several times.",
)
def dev(
    call: Call,
    app: str | None,
    queues: str | None,
    concurrency: int | None,
    log_level: str | None,
    reload_dir: tuple[str, ...],
) -> None:
    """Run a worker; when a Python file changes it drains and starts with the new code.

    Jobs that do not end in time are handed back and run again with the new code.
    """
    settings = call.settings()
    given = {
        "--queues": queues,
        "--concurrency": None if concurrency is None else str(concurrency),
        "--log-level": log_level,
    }
    arguments = [sys.executable, "-m", "treadle", "worker", *([app] if app else [])]
    for name, value in given.items():
        arguments += [] if value is None else [name, value]
    arguments += ["--grace", "5s", *(["--quiet"] if call.output.quiet else [])]
    # Only one that stood on a command line already: it may hold a password.
    arguments += ["--url", settings.url] if settings.origin("url") == "flag" else []
    watched = [Path(folder) for folder in reload_dir] or [Path.cwd()]
    call.output.note(f"Watching {', '.join(map(str, watched))} for changes.")
    _Reloader(call, arguments).run(watched)


class _Reloader:
    """Keeps one worker process on the newest code; ends when it is told to."""

    def __init__(self, call: Call, arguments: Sequence[str]) -> None:
        self._call = call
        self._arguments = arguments
        self._stop = threading.Event()

    def run(self, folders: Sequence[Path]) -> None:
        """Run until SIGINT or SIGTERM."""
        from watchfiles import PythonFilter, watch  # noqa: PLC0415 - only this command needs it

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._asked_to_stop)
        child = self._start()
        told = False
        try:
            for changes in watch(
                *folders,
                watch_filter=PythonFilter(extra_extensions=(".toml", ".env")),
                stop_event=self._stop,
                raise_interrupt=False,
                rust_timeout=500,
                yield_on_timeout=True,
            ):
                if changes:
                    self._call.output.note(_summary(changes))
                    self._end(child)
                    child, told = self._start(), False
                elif child.poll() is not None and not told:
                    self._call.output.note("The worker has ended; it starts at the next change.")
                    told = True
        finally:
            self._end(child)

    def _asked_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.set()

    def _start(self) -> subprocess.Popen[bytes]:
        # In a group of its own, so that Ctrl-C reaches it once: from here.
        return subprocess.Popen(self._arguments, start_new_session=True)  # noqa: S603 - our own

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        """Drain a worker; one that does not end in time is killed, its jobs return."""
        if child.poll() is not None:
            return
        child.terminate()
        try:
            child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _summary(changes: Iterable[tuple[object, str]]) -> str:
    names = sorted({Path(path).name for _, path in changes})
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"Changed: {', '.join(names[:3])}{more}. Restarting."
