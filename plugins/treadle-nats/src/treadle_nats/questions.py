"""What a broker asks of the thread that reads the log, and how the answer comes back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from treadle.broker.loop import LoopHandle
from treadle.broker.sqlite.transaction import Transaction
from treadle_nats.wire import Packed

T = TypeVar("T")


class Question(Generic[T]):
    """One question, and the place for its answer."""

    def __init__(self) -> None:
        self.home: LoopHandle | None = None
        """The loop of who asks."""
        self.wake: Callable[[], object] | None = None
        """Wakes who asks, on that loop."""
        self.dropped = False
        """Nobody waits for it any more."""
        self._error: Exception | None = None
        self._answer: T | None = None

    def answer(self, answer: T) -> None:
        """Keep the answer; it is delivered later."""
        self._answer = answer

    def fail(self, error: Exception) -> None:
        """Keep an error as the answer."""
        self._error = error

    def result(self) -> T:
        """Return the answer, or raise the error."""
        if self._error is not None:
            raise self._error
        return self._answer  # type: ignore[return-value]  # answered: T, which may itself be None


class Say(Question[Any]):
    """Write a command into the log; the answer is what came of it."""

    def __init__(self, packed: Packed, now: int | None) -> None:
        super().__init__()
        self.packed = packed
        self.now = now
        """The time of who asks, where that counts."""


class Look(Question[T]):
    """Look at the tables; `fresh`: as they are at this moment, not as they were read last."""

    def __init__(
        self, work: Callable[[Transaction], T], now: int | None, *, fresh: bool = True
    ) -> None:
        super().__init__()
        self.work = work
        self.now = now
        self.fresh = fresh


class Do(Question[T]):
    """Do something with the connection, whether the log can be read or not."""

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        super().__init__()
        self.work = work


def deliver(questions: Sequence[Question[Any]]) -> None:
    """Wake who asked, each loop once."""
    homes: dict[int, tuple[LoopHandle, list[Callable[[], object]]]] = {}
    for question in questions:
        if question.home is not None and question.wake is not None and not question.dropped:
            homes.setdefault(id(question.home), (question.home, []))[1].append(question.wake)
    for home, wakes in homes.values():
        home.post(partial(_wake_all, wakes))


def _wake_all(wakes: Sequence[Callable[[], object]]) -> None:
    for wake in wakes:
        wake()
