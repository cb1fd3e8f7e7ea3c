"""What can be asked of the writer: operations in a transaction, and work between transactions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from treadle.broker.sqlite import enqueue
from treadle.broker.sqlite.connection import Connection
from treadle.broker.sqlite.desk import Ask
from treadle.broker.sqlite.transaction import Transaction
from treadle.broker.values import Enqueued
from treadle.domain.job import Job

T = TypeVar("T")


class Write(Ask[T]):
    """An operation in a write transaction."""

    __slots__ = ("durable", "work")

    def __init__(
        self,
        work: Callable[[Transaction], T],
        *,
        durable: bool = True,
    ) -> None:
        super().__init__()
        self.work = work
        self.durable = durable
        """It must survive a power cut; what only claims or renews need not."""


class Enqueue(Write[Enqueued]):
    """Storing jobs: what several callers want to store can be stored at once."""

    __slots__ = ("jobs",)

    def __init__(self, jobs: Sequence[Job]) -> None:
        super().__init__(
            partial(_store, jobs)
        )  # a method of its own would keep the jobs in a cycle
        self.jobs = jobs

    def answer_stored(self, tx: Transaction) -> None:
        """Answer that all jobs were stored, just now."""
        results = enqueue.stored_results(tx, len(self.jobs))
        self.answer(Enqueued(now=tx.now, results=results))

    def answer_refused(self, now: int, reason: str) -> None:
        """Answer that there is no room for any of the jobs."""
        self.answer(Enqueued(now=now, results=enqueue.refuse(self.jobs, reason)))


def _store(jobs: Sequence[Job], tx: Transaction) -> Enqueued:
    return Enqueued(now=tx.now, results=enqueue.store(tx, jobs))


class Outside(Ask[T]):
    """Work on the connection, under the lock, between transactions."""

    __slots__ = ("work",)

    def __init__(self, work: Callable[[Connection], T]) -> None:
        super().__init__()
        self.work = work
