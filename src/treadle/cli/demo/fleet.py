"""The workers of the demo: real processes under a supervisor, one of which is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import anyio
import click
import msgspec
from msgspec import Struct

from treadle.broker.base import Broker, Filter, SessionInfo
from treadle.cli.failures import FAILED
from treadle.domain.state import Shown

_STOP_S = 20.0


class FleetFailed(click.ClickException):
    """The demo's own workers did not do what they were started for."""

    exit_code = FAILED


class _Info(Struct, frozen=True):
    """What a worker says about itself."""

    pid: int = 0


class Fleet:
    """A supervisor with its worker processes; `stop` ends all of them."""

    def __init__(self, app: str, url: str, *, processes: int, concurrency: int, log: Path) -> None:
        self.processes = processes
        command = [sys.executable, "-m", "treadle", "worker", app, "--url", url]
        command += ["--processes", str(processes), "--concurrency", str(concurrency)]
        command += ["--name", "demo", "--log-level", "warn", "--log-format", "json"]
        self._command = command
        self._log = log
        self._file: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._pids: set[int] = set()

    def __enter__(self) -> Self:
        self._file = self._log.open("wb")
        self._process = subprocess.Popen(  # noqa: S603 - our own command line
            self._command, stdin=subprocess.DEVNULL, stdout=self._file, stderr=self._file
        )
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Drain the workers; whoever does not end in time is killed."""
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            for pid in self._pids:
                _signal(pid, signal.SIGKILL)
        finally:
            if self._file is not None:
                self._file.close()

    async def sessions(self, broker: Broker) -> Sequence[SessionInfo]:
        """Return the sessions of the fleet's workers.

        Raises:
            FleetFailed: if the supervisor has ended: with what it wrote last.
        """
        if self._process is None or self._process.poll() is not None:
            raise FleetFailed(f"the workers ended by themselves:\n{self.last_words()}")
        found = await broker.sessions()
        self._pids |= {pid_of(session) for session in found} - {0}
        return found

    def last_words(self) -> str:
        """Return the end of what the workers wrote."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-15:])


def pid_of(session: SessionInfo) -> int:
    """Return the process of a session; 0 if it did not say."""
    try:
        return msgspec.json.decode(session.info, type=_Info).pid
    except msgspec.DecodeError:
        return 0


async def kill_one(broker: Broker, fleet: Fleet, queue: str, *, tries: int = 50) -> SessionInfo:
    """Kill a worker with SIGKILL while it holds jobs; return the session that it had.

    It is stopped first and looked at, so that it surely holds jobs when it dies; one that holds
    none goes on, and it is tried again.

    Raises:
        FleetFailed: if no worker was ever seen with a job.
    """
    for number in range(tries):
        sessions = sorted(await fleet.sessions(broker), key=lambda session: session.name)
        session = sessions[number % len(sessions)] if sessions else None
        if session is not None and (pid := pid_of(session)) and _signal(pid, signal.SIGSTOP):
            if await _holds_jobs(broker, session, queue):
                _signal(pid, signal.SIGKILL)
                return session
            _signal(pid, signal.SIGCONT)
        await anyio.sleep(0.01)
    raise FleetFailed("no worker was seen with a job in its hands")


async def _holds_jobs(broker: Broker, session: SessionInfo, queue: str) -> bool:
    page = await broker.find(Filter(queue=queue, state=Shown.RUNNING), limit=500)
    return any(record.head.session == session.session for record in page.records)


def _signal(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
