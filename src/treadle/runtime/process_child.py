"""The child that runs handlers for a worker: one attempt at a time, until its parent is gone.

It runs those of `run_in="process"`, and any other that is suspected of killing its process. A thread
reads what the parent sends, so that a child whose parent died ends at once, also in the middle of
a handler; the event loop of the main thread runs attempts, sync ones in a thread. SIGTERM and
SIGINT are the parent's business: it drains, and kills its children when it must.
"""

from __future__ import annotations

import importlib
import os
import resource
import runpy
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Mapping
from functools import cache, partial, reduce
from typing import Any, assert_never, cast

import anyio
from msgspec import structs

from treadle.broker.base import Lease
from treadle.broker.loop import LoopHandle
from treadle.domain.job import ErrorInfo
from treadle.domain.outcome import Failed, Outcome
from treadle.errors import BrokerError, LeaseLost
from treadle.logs import configure
from treadle.runtime.attempt import Attempt, Tools
from treadle.runtime.clock import SystemClock
from treadle.runtime.failures import failure
from treadle.runtime.handlers import AnyHandler, Handler
from treadle.runtime.leftovers import cancel, owner_of, tasks
from treadle.runtime.owner import OWNER, job_fields, running_fields
from treadle.runtime.process_wire import (
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
    ToChild,
    ended,
    frame,
    read_to_child,
)
from treadle.runtime.processes import ProcessPool
from treadle.runtime.registry import Registry
from treadle.runtime.threads import ThreadPool

Answer = StepsTold | StepTold

_MB = 1024 * 1024
_CHUNK = 64 * 1024
_SCRIPT = "__treadle_script__"


class _Answers:
    """Waiters for the parent's answers, which come in the order of the questions."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[anyio.Event, list[Answer]]] = deque()

    async def next(self) -> Answer:
        event, box = anyio.Event(), list[Answer]()
        self._waiting.append((event, box))
        await event.wait()
        return box[0]

    def told(self, answer: Answer) -> None:
        event, box = self._waiting.popleft()
        box.append(answer)
        event.set()


class _Notes:
    """The way to the parent; notes go there, and steps are asked for there.

    The parent takes what it hears for words of the attempt that runs now. What an earlier one left
    behind, a thread or a task, must not speak in its name.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.answers = _Answers()
        self.lease: Lease | None = None
        """That of the attempt that runs now."""
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, message: FromChild) -> None:
        with self._lock:
            self._connection.sendall(frame(message))

    def end(self, outcome: Outcome) -> None:
        """Say how the attempt ended; from now on nothing more is said of it."""
        with self._lock:
            self.lease = None
            self._connection.sendall(frame(ended(outcome)))

    def progress(self, lease: Lease, data: bytes) -> None:
        self._say(lease, Progressed(data))

    def log(self, lease: Lease, text: str) -> None:
        self._say(lease, Logged(text))

    async def step(self, lease: Lease, name: str, data: bytes) -> bytes:
        self._ask(lease, StepMade(name, data))
        answer = await self.answers.next()
        _raise(answer)
        return answer.data if isinstance(answer, StepTold) else b""

    async def steps(self, lease: Lease) -> dict[str, bytes]:
        self._ask(lease, StepsAsked())
        answer = await self.answers.next()
        _raise(answer)
        return answer.steps if isinstance(answer, StepsTold) else {}

    def _say(self, lease: Lease, message: FromChild) -> bool:
        with self._lock:
            speaks = lease == self.lease
            if speaks:
                self._connection.sendall(frame(message))
        return speaks

    def _ask(self, lease: Lease, question: FromChild) -> None:
        if not self._say(lease, question):
            raise LeaseLost(f"job {lease.id} (queue {lease.queue}): the attempt has ended")


def _raise(answer: Answer) -> None:
    if answer.error:
        lost = isinstance(answer, StepTold) and answer.lost
        raise (LeaseLost if lost else BrokerError)(answer.error)


class _Child:
    """Reads in a thread, runs attempts on the event loop of the main thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._notes = _Notes(connection)
        self._frames = Frames()
        self._bodies: deque[bytes] = deque()
        self._requests: deque[Request] = deque()
        self._asked = anyio.Event()
        self._cpu_seconds: int | None = None
        self._running: Attempt | None = None

    def set_up(self) -> str:
        """Read the first frame; return the name of the event loop to run."""
        while not self._bodies:
            data = self._connection.recv(_CHUNK)
            if not data:
                raise SystemExit(0)
            self._bodies.extend(self._frames.feed(data))
        setup = read_to_child(self._bodies.popleft())
        if not isinstance(setup, Setup):
            raise SystemExit("the first message is not the setup")
        sys.path[:] = setup.path
        self._cpu_seconds = setup.cpu_seconds
        if setup.logs is not None:
            how = setup.logs
            configure(format=how.format, level=how.level, redact=how.redact, about=self._about)
        if setup.memory_mb is not None:
            _limit(resource.RLIMIT_AS, setup.memory_mb * _MB)
        return setup.backend

    def _about(self) -> Mapping[str, object]:
        """Return what a log line says about the job that runs here."""
        attempt = self._running
        if attempt is None or OWNER.get() != attempt.lease:
            return job_fields()
        return running_fields(attempt)

    def _listen(self, loop: LoopHandle) -> None:
        """Read until the parent is gone, then end the process at once."""
        try:
            while True:
                while self._bodies:
                    message = read_to_child(self._bodies.popleft())
                    if isinstance(message, Request):
                        self._notes.send(Started())
                    loop.post(partial(self._heard, message))
                data = self._connection.recv(_CHUNK)
                if not data:
                    break
                self._bodies.extend(self._frames.feed(data))
        finally:
            os._exit(0)

    def _heard(self, message: ToChild) -> None:
        match message:
            case Request():
                self._requests.append(message)
                self._asked.set()
            case StepsTold() | StepTold():
                self._notes.answers.told(message)
            case Setup():
                return
            case _:
                assert_never(message)

    async def serve(self) -> None:
        """Run one request after the other."""
        loop = LoopHandle()
        listener = threading.Thread(target=self._listen, args=(loop,), daemon=True)
        listener.start()
        async with ThreadPool(1) as threads:
            while True:
                await self._asked.wait()
                self._asked = anyio.Event()
                while self._requests:
                    if self._cpu_seconds is not None:
                        _limit(resource.RLIMIT_CPU, _cpu_used() + self._cpu_seconds)
                    self._notes.end(await self._run(self._requests.popleft(), threads))

    async def _run(self, request: Request, threads: ThreadPool) -> Outcome:
        try:
            handler = _find(request.place)
        except BaseException as error:  # noqa: BLE001 - importing runs user code
            return _not_imported(request.place, failure(error))
        if handler is None:
            message = f"the child process finds no handler {request.place.name!r}: {_HOW}"
            return Failed(error=ErrorInfo(type="ConfigurationError", message=message), give_up=True)
        tools = Tools(
            clock=SystemClock(),
            notes=self._notes,
            threads=threads,
            processes=ProcessPool(1),
            worker=request.worker,
        )
        attempt = Attempt(
            job=request.job,
            number=request.number,
            lease=request.lease,
            handler=handler,
            tools=tools,
        )
        self._notes.lease = request.lease
        self._running = attempt
        self._notes.send(Running())
        OWNER.set(request.lease)
        try:
            return await handler.run_in_child(attempt)
        except (
            anyio.get_cancelled_exc_class()
        ) as error:  # nobody cancels here but the handler itself
            return failure(error)
        finally:
            _tidy(request.lease)


def _tidy(lease: Lease) -> None:
    """Cancel the tasks that an attempt left behind."""
    own = anyio.get_current_task().id
    left = [task for task in tasks() if owner_of(task) == lease and id(task) != own]
    if left:
        cancel(left, lease)


def _not_imported(place: Place, outcome: Outcome) -> Outcome:
    """Say of an error that it was no attempt that failed."""
    if not isinstance(outcome, Failed):
        return outcome
    file = place.script or place.app.partition(":")[0] or place.module
    error = outcome.error
    message = f"importing {file} in a child process: {error.message}"
    if place.script:
        message += ". What it runs as a script belongs under `if __name__ == '__main__':`"
    return structs.replace(outcome, error=structs.replace(error, message=message))


_HOW = "define it at the top of a module, or start the worker with the name of its application"


@cache
def _find(place: Place) -> AnyHandler | None:
    """Import what holds the handler, once per place."""
    if place.app:
        module, _, attribute = place.app.partition(":")
        registry: Any = _attribute(importlib.import_module(module), attribute)
        if isinstance(registry, Registry):
            registry.load_plugins()
            found = registry.handlers.get(place.name)
            if found is not None:
                return found
    if "<locals>" in place.qualname:
        return None
    if place.script:
        named: Any = runpy.run_path(place.script, run_name=_SCRIPT)
        first, _, rest = place.qualname.partition(".")
        value = named.get(first)
        value = _attribute(value, rest) if rest else value
    else:
        value = _attribute(importlib.import_module(place.module), place.qualname)
    if not isinstance(value, Handler):
        return None
    handler = cast("AnyHandler", value)
    return handler if handler.name == place.name else None


def _attribute(value: Any, path: str) -> Any:
    return reduce(getattr, path.split("."), value)


def _limit(kind: int, most: int | None) -> None:
    if most is not None:
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (most if hard < 0 else min(most, hard), hard))


def _cpu_used() -> int:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return int(used.ru_utime + used.ru_stime) + 1


def main() -> None:
    """Serve the parent at the other end of the inherited socket."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    child = _Child(connection)
    anyio.run(child.serve, backend=child.set_up())


if __name__ == "__main__":
    main()
