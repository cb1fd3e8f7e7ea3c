"""What a history of calls cannot tell: whether the runtime does what it says, judged from inside.

The laws of `treadle.conformance.history` judge every run: what callers were told must fit together.
Here are those for which one must see more: what handlers did, beside what was recorded of them, and
whom the server named lost, beside who was declared so. The server's own view of each job is kept for
whoever waits for something to happen. After a crash of the server, what it forgot is forgotten here
too: `forget`, then all that it still knows is seen again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import anyio
from msgspec import Struct

from treadle.broker.base import (
    Applied,
    Claimed,
    Enqueued,
    Opened,
    Overdue,
    Settled,
)
from treadle.domain.job import Job, Record
from treadle.domain.outcome import CancelRequest, Change, Failed, Outcome, Snoozed, Succeeded, Write
from treadle.domain.state import FINAL, Event, State

Key = tuple[str, str]
Lease = tuple[str, str, int]


class Told(Struct):
    """What the server said of one job so far."""

    fence: int = 1
    fails: int = 0
    """Accepted failures of this run of the job."""
    finals: int = 0
    not_before: int = 0
    """The handler asked not to be called before this instant."""
    session: str = ""
    claimed: int = 0
    accepted: int = 0
    final: int = 0
    ends: str = ""
    """The final state."""
    reason: str = ""


class Ended(Struct):
    """What a handler did in one attempt."""

    how: str
    at: int
    wish_ms: int = 0


class Laws:
    """Sees everything; `violations` says what should not have happened."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.violations: list[str] = []
        self.calm = False
        """Nothing goes wrong any more: nothing may be lost, or be left behind."""
        self.blamed: set[str] = set()
        """Sessions whose process was killed on purpose in calm times."""
        self.told: dict[Key, Told] = {}
        self.held: dict[str, set[Key]] = {}
        """By session, what it runs."""
        self.claims: dict[str, int] = {}
        """By session, how many jobs it was given."""
        self.starts = 0
        self.deaths = 0
        self._named: set[Lease] = set()
        self._ended: dict[Lease, Ended] = {}
        self._now_ms = now_ms
        self._moved = anyio.Event()

    def violated(self, text: str) -> None:
        """Note that a law was broken."""
        if len(self.violations) < 20:
            self.violations.append(text)

    async def change(self, within_s: float) -> None:
        """Return when something has happened to a job, or when the time is over."""
        self._moved = anyio.Event()
        with anyio.move_on_after(within_s):
            await self._moved.wait()

    def forget(self) -> None:
        """Forget what the server said: it has crashed, and will say again what it still knows."""
        self.told.clear()
        self.held.clear()

    def see(self, now: int, op: str, args: tuple[Any, ...], answer: Any) -> None:
        """See one operation of the server."""
        match answer:
            case Enqueued(results=results):
                self._enqueued(now, args[0], results)
            case Claimed(records=records):
                self._claimed(now, records)
            case Settled(results=results):
                self._settled(now, args[0], results)
            case Overdue(records=records) | Opened(inherited=records):
                self._name(records)
            case _:
                if op == "close":
                    self._closed(args[0])

    def started(self, lease: Lease, attempt: int) -> None:
        """See a handler start."""
        self.starts += 1
        self._moved.set()
        told = self.told.get(lease[:2])
        if told is not None and told.fence == lease[2] and attempt != told.fails + 1:
            self.violated(f"{lease}: attempt {attempt} after {told.fails} failures")

    def ended(self, lease: Lease, outcome: Outcome, wish_ms: int) -> None:
        """See a handler end."""
        match outcome:
            case Succeeded():
                how = "succeeded"
            case Failed():
                how = "failed"
            case Snoozed():
                how = "snoozed"
            case _:
                how = "other"
        self._ended[lease] = Ended(how=how, at=self._now_ms(), wish_ms=wish_ms)

    def _enqueued(self, now: int, jobs: Sequence[Job], results: Sequence[Any]) -> None:
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, Applied):
                self.told[job.queue, job.id] = Told(fence=result.fence, accepted=now)

    def _claimed(self, now: int, records: Sequence[Record]) -> None:
        for record in records:
            job, head = record.job, record.head
            key = (job.queue, job.id)
            told = self.told.get(key)
            if told is None:
                continue
            if now < told.not_before - 1:
                self.violated(f"{key}: called {told.not_before - now} ms too early")
            told.fence, told.session, told.claimed = head.fence, head.session, now
            self.held.setdefault(head.session, set()).add(key)
            self.claims[head.session] = self.claims.get(head.session, 0) + 1
            self._moved.set()

    def _settled(self, now: int, writes: Sequence[Write], results: Sequence[Any]) -> None:
        for write, result in zip(writes, results, strict=True):
            key = (write.queue, write.id)
            told = self.told.get(key)
            if told is None or not isinstance(result, Applied):
                continue
            if isinstance(write, Change):
                self._changed(now, key, told, write, result.fence)
                self._moved.set()
            elif not isinstance(write, CancelRequest):
                told.finals = 0

    def _changed(self, now: int, key: Key, told: Told, change: Change, fence: int) -> None:
        self.held.get(told.session, set()).discard(key)
        lease = (*key, change.fence)
        self._check_ending(now, lease, told, change)
        told.fence = fence
        told.not_before = 0
        ended = self._ended.get(lease)
        asked = change.event in (Event.FAIL, Event.SNOOZE) and change.state is State.WAITING
        if asked and ended is not None and ended.wish_ms:
            told.not_before = ended.at + ended.wish_ms
        if change.event is Event.FAIL:
            told.fails += 1
        if change.event is Event.RETRY:
            told.fails = told.finals = 0
        if change.state in FINAL:
            told.finals += 1
            told.final, told.ends, told.reason = now, change.state.name.lower(), change.reason

    def _check_ending(self, now: int, lease: Lease, told: Told, change: Change) -> None:
        """Compare what was written about an attempt with what its handler did."""
        ended = self._ended.get(lease)
        match change.event:
            case Event.SUCCEED:
                if ended is None or ended.how != "succeeded":
                    self.violated(f"{lease}: recorded as succeeded, but its handler did not")
            case Event.FAIL:
                how = "came to no end" if ended is None else ended.how
                if how != "failed" and not (ended is None and _timed_out(change)):
                    self.violated(f"{lease}: recorded as failed, but its handler {how}")
            case Event.SNOOZE:
                if ended is None or ended.how != "snoozed":
                    self.violated(f"{lease}: recorded as snoozed, but its handler did not")
            case Event.LOSE:
                self.deaths += 1
                if lease not in self._named:
                    self.violated(f"{lease}: declared lost, though the broker never said so")
                if self.calm and told.session not in self.blamed:
                    self.violated(f"{lease}: lost by {told.session} in calm times, at {now}")
            case _:
                return

    def _name(self, records: Sequence[Record]) -> None:
        for record in records:
            if record.head.state is State.RUNNING:
                self._named.add((record.job.queue, record.job.id, record.head.fence))

    def _closed(self, session: str) -> None:
        left = self.held.get(session)
        if left and self.calm:
            self.violated(f"{session} was closed with {sorted(left)} in its hands")


def _timed_out(change: Change) -> bool:
    error = None if change.history is None else change.history.error
    return error is not None and error.type == "TimeoutError"
