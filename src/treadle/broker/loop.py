"""How a thread wakes an event loop, on asyncio and trio alike, without importing either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from anyio.lowlevel import current_token


class _AsyncioLoop(Protocol):
    def call_soon_threadsafe(self, callback: Callable[[], object]) -> object: ...


class _TrioToken(Protocol):
    def run_sync_soon(self, sync_fn: Callable[[], object]) -> None: ...


class LoopHandle:
    """The running event loop of this thread, to be woken from other threads."""

    __slots__ = ("_post", "backend")

    def __init__(self) -> None:
        """Take hold of the loop that runs now.

        Raises:
            anyio.NoEventLoopError: if none runs in this thread.
        """
        token = current_token()
        native: Any = token.native_token
        self.backend = "asyncio" if hasattr(native, "call_soon_threadsafe") else "trio"
        self._post: Callable[[Callable[[], object]], object] = (
            cast("_AsyncioLoop", native).call_soon_threadsafe
            if self.backend == "asyncio"
            else cast("_TrioToken", native).run_sync_soon
        )

    def post(self, callback: Callable[[], object]) -> bool:
        """Let the loop call `callback` soon; may be called from any thread, signal handlers too.

        Returns False if the loop has ended: nobody is there to be woken. asyncio says so with
        RuntimeError, trio with RunFinishedError, which is one.
        """
        try:
            self._post(callback)
        except RuntimeError:
            return False
        return True
