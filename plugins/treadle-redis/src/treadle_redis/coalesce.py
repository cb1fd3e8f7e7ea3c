"""Calls that are made at the same time go out together: one flight at a time, no timer.

What comes while a call is in flight forms the next one. A lone call goes at once; a hundred that
wait at once cost little more than one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Generic, TypeVar

from treadle.errors import BrokerError

I = TypeVar("I")  # noqa: E741 - what goes in
O = TypeVar("O")  # noqa: E741 - what comes out

_MOST: Final = 250
"""How many items one flight carries: more would only keep the server busy for longer."""


class _Call(Generic[I, O]):
    """One caller's items, and what became of those that were sent already."""

    __slots__ = ("future", "items", "results", "sent")

    def __init__(self, items: Sequence[I], future: asyncio.Future[list[O]]) -> None:
        self.items = items
        self.future = future
        self.results: list[O] = []
        self.sent = 0


class Coalescer(Generic[I, O]):
    """Carries the items of many callers in few flights, in the order of the calls."""

    def __init__(
        self,
        send: Callable[[list[I]], Awaitable[list[O]]],
        start: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._send = send
        self._start = start
        self._calls: deque[_Call[I, O]] = deque()
        self._is_flying = False

    async def ask(self, items: Sequence[I]) -> list[O]:
        """Send items and return what became of each.

        A caller that is cancelled before its items were sent takes them back.

        Raises:
            BrokerError: what the flight raised that carried them, or one of them.
        """
        if not items:
            return []
        call = _Call[I, O](items, asyncio.get_running_loop().create_future())
        if not self._is_flying:
            self._start(self._fly_all())
            self._is_flying = True
        self._calls.append(call)
        return await call.future

    async def _fly_all(self) -> None:
        try:
            while self._calls:
                await self._fly()
        finally:
            self._is_flying = False

    async def _fly(self) -> None:
        aboard: list[tuple[_Call[I, O], int]] = []
        items: list[I] = []
        while self._calls and len(items) < _MOST:
            call = self._calls[0]
            if call.future.done() and not call.sent:
                self._calls.popleft()
                continue
            part = call.items[call.sent : call.sent + _MOST - len(items)]
            call.sent += len(part)
            items += part
            aboard.append((call, len(part)))
            if call.sent == len(call.items):
                self._calls.popleft()
        try:
            results = await self._send(items) if items else []
        except BrokerError as error:
            self._fail(aboard, error)
            return
        except BaseException as error:
            self._fail(aboard, error)
            raise
        at = 0
        for call, count in aboard:
            call.results += results[at : at + count]
            at += count
            if len(call.results) == len(call.items) and not call.future.done():
                call.future.set_result(call.results)

    def _fail(self, aboard: list[tuple[_Call[I, O], int]], error: BaseException) -> None:
        for call, _ in aboard:
            if call.sent < len(call.items):
                self._calls.remove(call)
            if not call.future.done():
                call.future.set_exception(error)
