"""What handlers leave behind: tasks, threads, and changes to the process that all of them share.

Theory of operation. Once a second the worker looks; nothing is done per job. Only asyncio lets a
task outlive who made it (a trio nursery does not), so only there are tasks looked for, and only after
some attempt ended. Whose a task is stands in its context (`owner`). One whose attempt has ended is
reported and cancelled, once: what it does with the cancellation is its own affair.

Folder, locale and signal handlers belong to the process, and nothing tells who changed them: the
report names what every slot ran last. A folder or a locale stays as the handler left it, since others
may rely on it by now; the worker's own signal handlers are put back, or SIGTERM would find it deaf.
"""

from __future__ import annotations

import gc
import locale
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextvars import Context
from typing import Any, Protocol, cast
from weakref import WeakKeyDictionary, WeakSet

from anyio.lowlevel import current_token

from treadle.broker.base import Lease
from treadle.runtime.crew import Crew
from treadle.runtime.owner import OWNER, about_ended
from treadle.runtime.report import WorkerReport
from treadle.runtime.slots import Slot
from treadle.runtime.stopping import is_stop_handler

logger = logging.getLogger("treadle.leftovers")

_MOST_NAMED = 20
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Task(Protocol):
    """As much of a task of asyncio as is needed here."""

    def get_name(self) -> str:
        """Return its name."""
        ...

    def cancel(self) -> bool:
        """Ask it to end."""
        ...


class Leftovers:
    """Reports and cancels what the attempts of some crews left behind; `look` once a second."""

    def __init__(self, crews: Sequence[Crew], report: WorkerReport) -> None:
        self._crews = crews
        self._report = report
        self._finished = 0
        self._seen: WeakKeyDictionary[Task, Lease | None] = WeakKeyDictionary()
        self._cancelled: WeakSet[Task] = WeakSet()
        self._surroundings = _surroundings()
        self._handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        self._most_threads = len(_foreign_threads())

    def look(self) -> None:
        """Report what is new; cancel tasks whose attempts have ended. Call it on the worker's loop."""
        finished = sum(crew.finished for crew in self._crews)
        if finished != self._finished:
            self._finished = finished
            self._look_at_tasks()
            self._look_at_threads()
        self._look_around()

    def _look_at_tasks(self) -> None:
        slots = [slot for crew in self._crews for slot in crew.slots]
        ours, consumers = {id(slot) for slot in slots}, {slot.task for slot in slots}
        left: dict[tuple[Lease | None, bool], list[Task]] = {}
        for task in tasks():
            owner = owner_of(task)
            slot, lease = owner if isinstance(owner, tuple) else (owner, None)
            if not isinstance(slot, Slot) or id(slot) not in ours:
                continue  # of somebody else; perhaps of another worker on this loop
            if id(task) in consumers or task in self._cancelled:
                continue
            for crew in self._crews:
                crew.names_owners = True  # from now on nobody has to guess
            guessed = lease is None
            if lease is None:
                lease = self._guessed(task, slot)
            if slot.attempt is None or slot.attempt.lease != lease:
                left.setdefault((lease, guessed), []).append(task)
        for (lease, guessed), leaked in left.items():
            self._report.leaked += len(leaked)
            cancel(leaked, lease, guessed=guessed)
            self._cancelled.update(leaked)

    def _guessed(self, task: Task, slot: Slot) -> Lease | None:
        """Return the attempt that its slot ran when the task was first seen."""
        return self._seen.setdefault(task, slot.lease)

    def _look_at_threads(self) -> None:
        """Report threads that outlive attempts, each time there are twice as many as ever before."""
        threads = _foreign_threads()
        if len(threads) <= self._most_threads:
            return
        logger.warning(
            "threads_left",
            extra={"threads": sorted(threads)[:_MOST_NAMED], "jobs": self._suspects()},
        )
        self._most_threads = 2 * len(threads)

    def _look_around(self) -> None:
        now = _surroundings()
        if now != self._surroundings:
            changed = {
                name: value for name, value in now.items() if value != self._surroundings[name]
            }
            self._surroundings = now
            logger.warning("process_changed", extra={**changed, "jobs": self._suspects()})
        for number, before in self._handlers.items():
            current = signal.getsignal(number)
            if current == before:
                continue
            ours = is_stop_handler(before) and threading.current_thread() is threading.main_thread()
            if ours:
                signal.signal(number, before)
            else:
                self._handlers[number] = current
            logger.warning(
                "signal_handler_changed",
                extra={"signal": number.name, "restored": ours, "jobs": self._suspects()},
            )

    def _suspects(self) -> list[str]:
        """Name what each slot ran last: the culprit is among them unless it was very quick."""
        ran = [slot.lease for crew in self._crews for slot in crew.slots]
        return [f"{lease.queue}/{lease.id}" for lease in ran if lease is not None][:_MOST_NAMED]


def tasks() -> Iterable[Task]:
    """Return all tasks of this loop, if it is one of asyncio; of another, nothing is left behind."""
    loop = current_token().native_token
    if not hasattr(loop, "call_soon_threadsafe"):
        return ()
    # anyio tells no more of a task than its name. Nothing is imported: whose loop runs is loaded.
    found: Iterable[Task] = cast("Any", sys.modules["asyncio"]).all_tasks(loop)
    return found


def owner_of(task: Task) -> Slot | tuple[Slot, Lease] | Lease | None:
    """Return the slot or the attempt in which a task was made."""
    get_context = getattr(task, "get_context", None)
    if get_context is not None:
        context: Context = get_context()
        return context.get(OWNER)
    # Python 3.11 keeps the context to itself, but shows it to the garbage collector, first of all.
    for one in gc.get_referents(task):
        if isinstance(one, Context):
            return one.get(OWNER)
    return None


def cancel(leaked: Sequence[Task], lease: Lease | None, *, guessed: bool = False) -> None:
    """Report and cancel the tasks that an attempt left behind.

    `guessed` says that an earlier attempt of the same slot may have been the one.
    """
    where: Mapping[str, object] = {} if lease is None else about_ended(lease)
    names = [task.get_name() for task in leaked[:_MOST_NAMED]]
    fields = {**where, "guessed": guessed, "tasks": names, "count": len(leaked)}
    logger.warning("tasks_left", extra=fields)
    for task in leaked:
        task.cancel()


def _surroundings() -> dict[str, str]:
    try:
        folder = os.getcwd()  # noqa: PTH109 - a path object costs more than the call
    except OSError as error:
        folder = f"<{error.strerror}>"
    return {"folder": folder, "locale": locale.setlocale(locale.LC_ALL)}


def _foreign_threads() -> list[str]:
    """Name the threads that neither Treadle nor anyio started."""
    own = ("treadle", "AnyIO", "MainThread", "asyncio_", "Trio")
    return [each.name for each in threading.enumerate() if not each.name.startswith(own)]
