"""Calls from threads without an event loop: one background thread with a loop, for all of them.

It starts with the first call, and again after a fork. Brokers belong to a loop, so what is called
through here has a broker of its own.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Final, TypeVar, TypeVarTuple

import anyio
from anyio.from_thread import BlockingPortal
from anyio.lowlevel import current_token

from treadle.errors import WrongThread

R = TypeVar("R")
A = TypeVarTuple("A")

_STOP_S: Final = 5.0


class Portal:
    """Runs async functions for threads that have no event loop of their own."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._portal: BlockingPortal | None = None
        self._thread: Thread | None = None

    def call(self, function: Callable[[*A], Awaitable[R]], *args: *A) -> R:
        """Run `function` on the portal's loop and return what it returns.

        Raises:
            WrongThread: if an event loop runs in this thread: it would stand still meanwhile.
        """
        if _a_loop_runs_here():
            name = getattr(function, "__name__", "this").removesuffix("_sync")
            raise WrongThread(
                f"{name}_sync() was called on a running event loop, which would stand still until "
                f"it returns. Write `await ...{name}(...)` instead."
            )
        return self._started().call(function, *args)

    def stop(self) -> None:
        """End the loop and its thread; the next call starts another one."""
        with self._lock:
            portal, thread = self._portal, self._thread
            self._portal = self._thread = None
        if portal is not None and thread is not None:
            portal.start_task_soon(portal.stop, True)
            thread.join(_STOP_S)

    def forget(self) -> None:
        """Forget the thread without ending it: after a fork it exists in the parent only."""
        self._lock = Lock()
        self._portal = self._thread = None

    def _started(self) -> BlockingPortal:
        with self._lock:
            if self._portal is None:
                ready: Future[BlockingPortal] = Future()
                self._thread = Thread(
                    target=anyio.run, args=(_serve, ready), name="treadle-portal", daemon=True
                )
                self._thread.start()
                self._portal = ready.result()
                atexit.register(self.stop)
            return self._portal


async def _serve(ready: Future[BlockingPortal]) -> None:
    async with BlockingPortal() as portal:
        ready.set_result(portal)
        await portal.sleep_until_stopped()


def _a_loop_runs_here() -> bool:
    try:
        current_token()
    except RuntimeError:
        return False
    return True


PORTAL: Final = Portal()
"""The portal of this process. Nothing runs before its first call."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PORTAL.forget)
