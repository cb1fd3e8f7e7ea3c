"""`qrun dev`: worker, scheduler and HTTP interface, which start anew when the code changes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
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
@click.option(
    "--web/--no-web",
    default=True,
    help="Serve HTTP as well, if treadle-web is installed; on by default.",
)
def dev(
    call: Call,
    app: str | None,
    queues: str | None,
    concurrency: int | None,
    log_level: str | None,
    reload_dir: tuple[str, ...],
    *,
    web: bool,
) -> None:
    """Run a worker, which fires schedules too; when a Python file changes it starts with the new code.

    Jobs that do not end in time are handed back and run again with the new code.
    """
    settings = call.settings()
    shared = [*([app] if app else []), *(["--quiet"] if call.output.quiet else [])]
    shared += [] if log_level is None else ["--log-level", log_level]
    # Only one that stood on a command line already: it may hold a password.
    shared += ["--url", settings.url] if settings.origin("url") == "flag" else []
    own = ["--grace", "5s", *([] if queues is None else ["--queues", queues])]
    own += [] if concurrency is None else ["--concurrency", str(concurrency)]
    roles = {"worker": [*shared, *own]}
    if web and _is_command("web"):
        roles["web"] = shared
    watched = [Path(folder) for folder in reload_dir] or [Path.cwd()]
    call.output.note(f"Watching {', '.join(map(str, watched))} for changes.")
    _Reloader(call, roles).run(watched)


def _is_command(name: str) -> bool:
    """Tell whether `qrun` has this command, perhaps from a plugin."""
    root = click.get_current_context().find_root()
    return isinstance(root.command, click.Group) and bool(root.command.get_command(root, name))


class _Reloader:
    """Keeps a process of each role on the newest code; ends when it is told to."""

    def __init__(self, call: Call, roles: Mapping[str, Sequence[str]]) -> None:
        self._call = call
        self._roles = roles
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stop = threading.Event()

    def run(self, folders: Sequence[Path]) -> None:
        """Run until SIGINT or SIGTERM."""
        from watchfiles import PythonFilter, watch  # noqa: PLC0415 - only this command needs it

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._asked_to_stop)
        self._start()
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
                    self._end()
                    self._start()
                else:
                    self._tell_ended()
        finally:
            self._end()

    def _asked_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.set()

    def _start(self) -> None:
        for role, arguments in self._roles.items():
            # In a group of its own, so that Ctrl-C reaches it once: from here.
            self._running[role] = subprocess.Popen(  # noqa: S603 - our own
                [sys.executable, "-m", "treadle", role, *arguments], start_new_session=True
            )

    def _tell_ended(self) -> None:
        for role, child in list(self._running.items()):
            if child.poll() is not None:
                del self._running[role]
                self._call.output.note(f"The {role} has ended; it starts at the next change.")

    def _end(self) -> None:
        """Drain all; who does not end in time is killed, and its jobs return."""
        children = list(self._running.values())
        self._running.clear()
        for child in children:
            child.terminate()
        until = time.monotonic() + _STOP_S
        for child in children:
            try:
                child.wait(max(until - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _summary(changes: Iterable[tuple[object, str]]) -> str:
    names = sorted({Path(path).name for _, path in changes})
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"Changed: {', '.join(names[:3])}{more}. Restarting."
