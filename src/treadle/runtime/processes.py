"""Child processes for handlers: CPU work that can be killed, and crashes that hurt nobody else.

Children are started fresh, never forked from a process that has threads, and kept for the next
job. A child is killed, with whatever it started, when its attempt is cancelled or runs over its time
limit; one that dies by itself fails the attempt with the signal's name. Either way the next job
gets a new one. The parent's event loop only ever waits for sockets.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, assert_never

import anyio
from anyio import to_thread

from treadle.broker.loop import LoopHandle
from treadle.domain.job import ErrorInfo
from treadle.domain.outcome import Failed, Outcome
from treadle.errors import BrokerError, LeaseLost
from treadle.logs import style
from treadle.runtime.ending import signal_name
from treadle.runtime.process_wire import (
    Ended,
    Frames,
    FromChild,
    Logged,
    Place,
    Progressed,
    Request,
    Running,
    Setup,
    Started,
    StepMade,
    StepsAsked,
    StepsTold,
    StepTold,
    frame,
    outcome_of,
    read_from_child,
)

if TYPE_CHECKING:
    from treadle.broker.base import Lease
    from treadle.runtime.attempt import Attempt, NoteSink
    from treadle.runtime.handlers import AnyHandler

UNBORN = "ProcessNotStarted"
"""The error type of an attempt for which no process could be started."""
DIED = "ProcessDied"
"""The error type of an attempt whose process died."""

Said = Started | Running | Progressed | Logged | StepsAsked | StepMade

_CHUNK = 64 * 1024
_REAP_S = 5.0
START_S = 60.0
"""How long a child may take to start, import the application and find the handler."""
_TRIES = 2
"""A child may have died while it was idle: then the attempt had not begun, and gets another child."""
_KINDS = ("treadle.ProcessDied", "builtins.Exception")


class Limits(Protocol):
    """The keeper of time limits; a crew is one."""

    def pause_limit(self, attempt: Attempt, /) -> None:
        """Let no time limit end an attempt that has not really begun."""
        ...

    def start_limit(self, attempt: Attempt, /) -> None:
        """Count an attempt's time from now on."""
        ...


class _Died(Exception):
    """The child is gone; `begun` says that it had read the request."""

    def __init__(self, *, begun: bool) -> None:
        super().__init__()
        self.begun = begun


class _StartedTooLate(Exception):
    """The child did not get as far as the handler in time."""


class _Child:
    """One child process and the socket to it."""

    def __init__(self, setup: Setup, start_s: float) -> None:
        self._connection, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", "-m", "treadle.runtime.process_child", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._connection.setblocking(False)
        self._frames = Frames()
        self._unsent = frame(setup)
        self._start_s = start_s

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    async def run(self, request: Request, attempt: Attempt, running: Callable[[], None]) -> Outcome:
        """Run one attempt, and call `running` when it begins.

        Raises:
            _Died: if the child ends first.
            _StartedTooLate: if the attempt does not begin in time.
        """
        begun = False
        try:
            await self._send(self._unsent + frame(request))
            self._unsent = b""
            with anyio.move_on_after(self._start_s) as starting:
                while messages := await self._hear():
                    begun = True
                    for message in messages:
                        if isinstance(message, Ended):
                            return outcome_of(message)
                        if isinstance(message, Running):
                            starting.deadline = inf
                            running()
                        await self._note(message, attempt)
                raise _Died(begun=begun)
            raise _StartedTooLate
        except (BrokenPipeError, ConnectionResetError):
            raise _Died(begun=begun) from None

    async def _hear(self) -> list[FromChild]:
        """Wait for what the child says next; nothing if it is gone."""
        heard: list[FromChild] = []
        while not heard:
            await anyio.wait_readable(self._connection)
            data = self._connection.recv(_CHUNK)
            if not data:
                break
            heard += [read_from_child(body) for body in self._frames.feed(data)]
        return heard

    async def _note(self, message: Said, attempt: Attempt) -> None:
        notes, lease = attempt.tools.notes, attempt.lease
        match message:
            case Started() | Running():
                return
            case Progressed(data=data):
                notes.progress(lease, data)
            case Logged(text=text):
                notes.log(lease, text)
            case StepsAsked():
                await self._send(frame(await _steps(notes, lease)))
            case StepMade(name=name, data=data):
                await self._send(frame(await _step(notes, lease, name, data)))
            case _:
                assert_never(message)

    async def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._connection.send(rest) :]
            except BlockingIOError:
                await anyio.wait_writable(self._connection)

    async def end(self) -> int:
        """Kill it, with what it started, and return how it ended."""
        self.kill()
        with anyio.move_on_after(_REAP_S, shield=True):
            await to_thread.run_sync(self._process.wait, abandon_on_cancel=True)
        self._connection.close()
        return self._process.poll() or 0

    def kill(self) -> None:
        """Kill it, with what it started, without waiting."""
        # A process that ended by itself tells how in its exit code, which a signal cannot change.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


async def _steps(notes: NoteSink, lease: Lease) -> StepsTold:
    try:
        return StepsTold(await notes.steps(lease))
    except BrokerError as error:
        return StepsTold({}, str(error))


async def _step(notes: NoteSink, lease: Lease, name: str, data: bytes) -> StepTold:
    try:
        return StepTold(await notes.step(lease, name, data))
    except BrokerError as error:
        return StepTold(b"", str(error), isinstance(error, LeaseLost))


class ProcessPool:
    """Runs attempts in at most `size` child processes, started when they are first needed.

    `app` is the `module:attribute` under which a child finds the application; without it, handlers
    are found by module and name. `memory_mb` limits the address space of a child, `cpu_seconds` the
    processor time of one attempt, `start_s` what a child needs before the handler begins.
    """

    def __init__(
        self,
        size: int,
        *,
        app: str = "",
        memory_mb: int | None = None,
        cpu_seconds: int | None = None,
        limits: Limits | None = None,
        start_s: float = START_S,
    ) -> None:
        self.size = size
        self.limits = limits
        """Whom to tell that an attempt's time begins; what a child needs to start does not count."""
        self._app = app
        self._memory_mb = memory_mb
        self._cpu_seconds = cpu_seconds
        self._start_s = start_s
        self._idle: list[_Child] = []
        self._all: set[_Child] = set()
        self._room: anyio.Semaphore | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End every child; the next attempt would start a new one."""
        with anyio.CancelScope(shield=True):
            for child in list(self._all):
                await self._drop(child)

    async def run(self, attempt: Attempt) -> Outcome:
        """Run an attempt in a child; if this is cancelled, the child is killed."""
        if self._room is None:
            self._room = anyio.Semaphore(self.size)
        request = Request(
            place=_place(attempt.handler, self._app),
            job=attempt.job,
            number=attempt.number,
            lease=attempt.lease,
            worker=attempt.tools.worker,
        )
        code = 0
        if self.limits is not None:
            self.limits.pause_limit(attempt)
        async with self._room:
            for _ in range(_TRIES):
                child = await self._take()
                try:
                    outcome = await child.run(request, attempt, partial(self._running, attempt))
                except _Died as died:
                    code = await self._drop(child)
                    if died.begun:
                        return _failed(f"its process {_how(code)}", DIED)
                except _StartedTooLate:
                    await self._drop(child)
                    return _failed(_too_late(self._start_s), UNBORN)
                except BaseException:
                    await self._drop(child)
                    raise
                else:
                    self._idle.append(child)
                    return outcome
        return _failed(f"the process for it did not start: it {_how(code)}", UNBORN)

    def _running(self, attempt: Attempt) -> None:
        if self.limits is not None:
            self.limits.start_limit(attempt)

    async def _take(self) -> _Child:
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
            await self._drop(child)
        setup = Setup(
            path=tuple(sys.path),
            backend=LoopHandle().backend,
            memory_mb=self._memory_mb,
            cpu_seconds=self._cpu_seconds,
            logs=style(),
        )
        child = await to_thread.run_sync(_Child, setup, self._start_s)
        self._all.add(child)
        return child

    async def _drop(self, child: _Child) -> int:
        self._all.discard(child)
        return await child.end()


def _place(handler: AnyHandler, app: str) -> Place:
    """Say where a child finds a handler."""
    function = handler.function
    module, script = function.__module__, ""
    if module == "__main__":
        main: Any = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        if spec is None:
            script = str(Path(getattr(main, "__file__", "")).absolute())
        else:
            module = spec.name
    return Place(
        name=handler.name, app=app, module=module, qualname=function.__qualname__, script=script
    )


def _how(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"ended with exit code {code}"
    hint = " (out of memory?)" if -code == signal.SIGKILL else ""
    return f"was ended by {signal_name(-code)}{hint}"


def _too_late(limit_s: float) -> str:
    return (
        f"the process for it took longer than {limit_s:g} s to start and import the application; the "
        "handler had not begun. Import less where the handler is defined, or let fewer processes "
        "start at a time (--concurrency, --processes)"
    )


def _failed(what: str, kind: str) -> Failed:
    return Failed(error=ErrorInfo(type=kind, message=what), kinds=_KINDS)
