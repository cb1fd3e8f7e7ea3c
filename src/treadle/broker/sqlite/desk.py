"""A thread that works through questions which an event loop asks it.

Theory of operation. SQLite blocks, so it lives in threads. A coroutine lays an `Ask` on the desk and
sleeps; what was asked in one tick of the loop reaches the thread together, the thread takes
whatever has come in meanwhile, answers all of it, and wakes the loop once. That is the group commit:
no timer, no added wait, and the busier it gets the larger the groups become.

A caller that is cancelled takes its question back if nobody has begun with it; else the work
is done as a whole and only the answer is lost.

After a fork the child has none of the parent's threads: everything asked there fails with a
sentence that says so (see `forks`).
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

import anyio

from treadle.broker.loop import LoopHandle
from treadle.broker.sleeper import Sleeper
from treadle.broker.sqlite import forks
from treadle.errors import BrokerUnavailable

T = TypeVar("T")
_MOST_AT_ONCE = 1_000
_MOST_SECONDS_TO_END = 10.0


class Ask(Generic[T]):
    """One question, and the place for its answer."""

    __slots__ = ("_answer", "dropped", "error", "is_answered", "wake")

    def __init__(self) -> None:
        self.wake: Callable[[], object] | None = None
        """Wakes the caller, on its loop."""
        self.dropped = False
        """Nobody waits for it any more."""
        self.is_answered = False
        self.error: BaseException | None = None
        self._answer: T | None = None

    def answer(self, answer: T) -> None:
        """Keep the answer; it is delivered later."""
        self._answer = answer
        self.error = None
        self.is_answered = True

    def fail(self, error: BaseException) -> None:
        """Keep an error as the answer."""
        self.error = error
        self.is_answered = True

    def result(self) -> T:
        """Return the answer, or raise the error."""
        if self.error is not None:
            raise self.error
        return self._answer  # type: ignore[return-value]  # answered: T, which may itself be None


Inbox = SimpleQueue[list[Ask[Any]] | None]
"""Portions of questions; None = the end."""


class Desk(ABC):
    """The thread and its inbox. Subclasses answer, in `serve`, and let go in `release`."""

    def __init__(self, name: str) -> None:
        self.gate = Lock()
        """Held while the thread is inside SQLite, so that nobody forks meanwhile."""
        self._name = name
        self._inbox: Inbox = SimpleQueue()
        self._laid: list[Ask[Any]] = []
        """What was asked in this tick of the loop."""
        self._is_calm = True
        """One question at a time comes in: handing each over at once is quickest."""
        self._thread: Thread | None = None
        self._loop: LoopHandle | None = None
        self._sleeper = Sleeper()
        self._ended: anyio.Event | None = None
        self._pid = os.getpid()
        forks.watch(self)

    async def ask(self, question: Ask[T]) -> T:
        """Lay a question on the desk and wait for its answer."""
        loop = self._begin()
        sleep, question.wake = self._sleeper.make()
        self._laid.append(question)
        if self._is_calm:
            self._hand_over()
        elif len(self._laid) == 1:
            loop.post(self._hand_over)
        try:
            await sleep
        except BaseException:
            question.dropped = True
            raise
        return question.result()

    async def end(self) -> None:
        """Answer what lies there, then let go of everything and end the thread."""
        if self._thread is None or self.is_inherited():
            return
        ended = self._ended = anyio.Event()
        self._hand_over()
        self._inbox.put(None)
        self._thread = None
        with anyio.move_on_after(_MOST_SECONDS_TO_END, shield=True):
            await ended.wait()

    def is_inherited(self) -> bool:
        """Tell whether this process was forked from the one that opened the desk."""
        return self._pid != os.getpid()

    @abstractmethod
    def serve(self, asks: Sequence[Ask[Any]]) -> Callable[[], object] | None:
        """Answer all questions; return what the loop shall call as well. Never raises."""

    def afterwards(self) -> None:  # noqa: B027 - there need not be anything
        """Do what can wait until the answers are on their way."""

    @abstractmethod
    def release(self) -> None:
        """Close what is open, before the thread ends and before a fork; `gate` is held."""

    def fail_all(self, begun: Sequence[Ask[Any]], error: BrokerUnavailable) -> None:
        """Fail questions that lie too long, and those in the inbox; from another thread."""
        asks = [ask for ask in begun if not ask.dropped]
        self._gather(self._inbox, asks)
        for ask in asks:
            ask.fail(BrokerUnavailable(*error.args))
            ask.dropped = True
        if self._loop is not None:
            self._loop.post(partial(self._deliver, asks, None))

    def _begin(self) -> LoopHandle:
        if self.is_inherited():
            raise BrokerUnavailable(
                "this broker was opened before the process forked, and its threads stayed behind:"
                " make a new one in the child (broker.another())"
            )
        if self._thread is None or self._loop is None:
            self._loop = LoopHandle()
            self._sleeper = Sleeper()
            self._inbox = SimpleQueue()
            self._thread = Thread(
                target=self._work, args=(self._inbox,), name=self._name, daemon=True
            )
            self._thread.start()
        return self._loop

    def _hand_over(self) -> None:
        if self._laid:
            laid, self._laid = self._laid, []
            self._inbox.put(laid)

    def _work(self, inbox: Inbox) -> None:
        while (asks := inbox.get()) is not None:
            self._gather(inbox, asks)
            for start in range(0, len(asks), _MOST_AT_ONCE):
                self._answer(asks[start : start + _MOST_AT_ONCE])
        with self.gate:
            self.release()
        if self._loop is not None and self._ended is not None:
            self._loop.post(self._ended.set)

    def _gather(self, inbox: Inbox, asks: list[Ask[Any]]) -> None:
        """Take what has come in meanwhile."""
        while len(asks) < _MOST_AT_ONCE:
            try:
                more = inbox.get_nowait()
            except Empty:
                return
            if more is None:
                inbox.put(None)  # the end comes after what was asked before it
                return
            asks += more

    def _answer(self, asks: list[Ask[Any]]) -> None:
        also: Callable[[], object] | None = None
        alive = [ask for ask in asks if not ask.dropped]
        if alive:
            try:
                also = self.serve(alive)
            except Exception as error:  # noqa: BLE001 - whoever asked gets it; the thread lives
                for ask in alive:
                    if not ask.is_answered:
                        ask.fail(error)
            if self._loop is not None:
                self._loop.post(partial(self._deliver, alive, also))
            self.afterwards()

    def _deliver(self, asks: Sequence[Ask[Any]], also: Callable[[], object] | None) -> None:
        self._is_calm = len(asks) == 1
        for ask in asks:
            if ask.wake is not None:
                ask.wake()
        if also is not None:
            also()
